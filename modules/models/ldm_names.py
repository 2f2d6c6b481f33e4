"""Names of tensors in LDM's layout, and the other spellings under which files carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
UNET_INPUT = UNET + "input_blocks.0.0.weight"
UNET_CONTEXT = UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
VOCABULARY = TEXT + "embeddings.token_embedding.weight"


def spellings(name: str) -> tuple[str, ...]:
    """Return the names under which files carry a tensor of LDM's layout, best first."""
    if name.startswith(TEXT):  # some merges were written without "text_model."
        return name, name.replace("text_model.", "", 1)
    if name.startswith(UNET):  # LitEma's names have no dots; read when a file has no other weights
        return name, "model_ema." + name.removeprefix("model.").replace(".", "")
    return (name,)


def actual_name(tensors: Mapping[str, object], name: str) -> str | None:
    """Return the name under which the file carries a tensor of LDM's layout, or None."""
    return next((spelling for spelling in spellings(name) if spelling in tensors), None)


def count_below(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered modules follow a prefix of LDM's layout, as in "input_blocks.0"."""
    number = re.compile("(?:" + "|".join(map(re.escape, spellings(prefix))) + r")(\d+)\.")
    found = (number.match(name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
