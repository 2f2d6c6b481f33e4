"""Keys of LoRA files, as many trainers spell them: the layer that a tensor changes, and the part of the change it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

# "text encoder" is that of a checkpoint with one; the others count those of a checkpoint with several.
Network = Literal["unet", "text encoder", "text encoder 1", "text encoder 2"]

BUNDLED_PREFIX = "bundle_emb."  # of embeddings in a LoRA file
# Layer names with underscores (kohya-ss, LyCORIS, OneTrainer); the layer ends at the first dot.
_UNDERSCORED: tuple[tuple[str, Network], ...] = (
    ("lora_unet_", "unet"),
    ("oft_unet_", "unet"),
    ("lora_te1_", "text encoder 1"),
    ("lora_te2_", "text encoder 2"),
    ("lora_te_", "text encoder"),
    ("lycoris_", "unet"),
    ("diffusion_model_", "unet"),
)
# Module paths (diffusers, PEFT, ComfyUI); the first match is removed, where a name says the network's own modules.
_DOTTED: tuple[tuple[str, Network], ...] = (
    ("base_model.model.unet.", "unet"),
    ("base_model.model.text_encoder_2.", "text encoder 2"),
    ("base_model.model.text_encoder.", "text encoder 1"),
    ("base_model.model.text_model.", "text encoder 1"),
    ("base_model.model.", "unet"),
    ("model.diffusion_model.", "unet"),
    ("diffusion_model.", "unet"),
    ("unet.", "unet"),
    ("text_encoder_2.", "text encoder 2"),
    ("text_encoder.", "text encoder 1"),
    ("text_encoders.clip_l.transformer.", "text encoder 1"),
    ("text_encoders.clip_g.transformer.", "text encoder 2"),
    ("clip_l.", "text encoder 1"),
    ("clip_g.", "text encoder 2"),
    ("text_model.", "text encoder 1"),
    ("down_blocks.", "unet"),
    ("mid_block.", "unet"),
    ("up_blocks.", "unet"),
)
_KEPT_IN_NAME = ("text_model.", "down_blocks.", "mid_block.", "up_blocks.")
# What the part of a dotted key is called where a layer with underscores has it.
_DOTTED_PART = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"(?P<down>lora_A(?:\.\w+)?\.weight|lora\.down\.weight|lora_linear_layer\.down\.weight|lora_down\.weight)"
    r"|(?P<up>lora_B(?:\.\w+)?\.weight|lora\.up\.weight|lora_linear_layer\.up\.weight|lora_up\.weight)"
    r"|(?P<magnitude>lora_magnitude_vector(?:\.\w+)*)"
    r"|(?P<other>alpha|scale|dora_scale|lora_mid\.weight|diff|diff_b|w_norm|b_norm|hada_\w+|lokr_\w+|on_input"
    r"|rescale|oft_\w+|[ab][12]\.weight))"
)
OUTPUT_LENGTHS = "lora_magnitude_vector"  # of PEFT's DoRA; a "dora_scale" is known by its shape
_PART_NAMES = {"down": "lora_down.weight", "up": "lora_up.weight", "magnitude": OUTPUT_LENGTHS}
_SAME_PARTS = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora_magnitude_vector.weight": OUTPUT_LENGTHS,
}


class LoraKey(NamedTuple):
    """A tensor's place.

    Args:
        layer: The layer as the file spells it.
        network: Which network has the layer.
        module: The layer's path in the network, with underscores, in the spelling of diffusers, transformers or LDM.
        part: Of the layer's change, such as "lora_down.weight".
    """

    layer: str
    network: Network
    module: str
    part: str


def parse_key(key: str) -> LoraKey | None:
    """Return the place that a key of a LoRA file names, or None where it names none of an image model's."""
    layer, dot, part = key.partition(".")
    for prefix, network in _UNDERSCORED:
        if dot and layer.startswith(prefix):
            module = layer.removeprefix(prefix)
            return LoraKey(layer, network, module, _SAME_PARTS.get(part, part))
    return _parse_dotted(key)


def _parse_dotted(key: str) -> LoraKey | None:
    match = _DOTTED_PART.fullmatch(key)
    if match is None or match.lastgroup is None:
        return None
    layer = match["layer"]
    for prefix, network in _DOTTED:
        if layer.startswith(prefix):
            path = layer.removeprefix(prefix)
            own = next((name for name in _KEPT_IN_NAME if prefix.endswith(name)), "")
            part = _PART_NAMES.get(match.lastgroup, match[match.lastgroup])
            return LoraKey(layer, network, _underscored(own + path), part)
    return None


def _underscored(path: str) -> str:
    """Return a module's path with underscores; early diffusers kept a LoRA's layers in the attention's processor."""
    if ".processor." in path:
        path = path.replace(".processor.", ".")
        path = path + ".0" if path.endswith("to_out") else path
    return path.replace(".", "_")


def group_parts(keys: Iterable[str]) -> Mapping[LoraKey, Mapping[str, str]]:
    """Return by layer, its key without a part, from each part of its change to the key in the file."""
    return _group_parts(tuple(keys))


# Most files have the keys of another one: their trainers have the same presets.
@lru_cache(maxsize=64)
def _group_parts(keys: tuple[str, ...]) -> Mapping[LoraKey, Mapping[str, str]]:
    layers: dict[LoraKey, dict[str, str]] = {}
    for key in keys:
        place = parse_key(key)
        if place is not None:
            layers.setdefault(place._replace(part=""), {})[place.part] = key
    return layers
