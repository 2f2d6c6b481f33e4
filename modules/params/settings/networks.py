"""Options of extra networks, such as LoRA, named as in A1111."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class NetworkSettings(BaseModel):
    """How networks are named and written down."""

    sd_lora: str = param(
        "None",
        "Add LoRA to every prompt",
        help="This LoRA is written at the end of every prompt that does not name it; None adds none.",
        choices="loras",
        section="networks",
    )
    sd_hypernetwork: str = param(
        "None",
        "Add hypernetwork to every prompt",
        help="This hypernetwork is written at the end of every prompt that does not name it; None adds none.",
        choices="hypernetworks",
        section="networks",
    )
    extra_networks_default_multiplier: float = param(
        1.0,
        "Default weight of extra networks",
        help="The weight of a network that is chosen by its card or added to every prompt.",
        ge=0,
        le=2,
        slider=(0, 2, 0.01),
        section="networks",
    )
    lora_preferred_name: Literal["Alias from file", "Filename"] = param(
        "Alias from file",
        "LoRA names in prompts",
        help="Whether a card writes the name that the trainer gave a LoRA, or the name of its file; both are read.",
        section="networks",
    )
    lora_add_hashes_to_infotext: bool = param(
        True,
        "Write hashes of LoRAs into the infotext",
        help="Lets others find the same file, and warns where a file of that name is another one.",
        section="networks",
    )
    textual_inversion_add_hashes_to_infotext: bool = param(
        True,
        "Write hashes of embeddings into the infotext",
        help="Lets others find the same file, and warns where a file of that name is another one.",
        section="networks",
    )
    lora_bundled_ti_to_infotext: bool = param(
        True,
        "Write embeddings in LoRA files into the infotext",
        help="Names them among the embeddings' hashes, with the name of the LoRA in place of a hash.",
        section="networks",
    )
