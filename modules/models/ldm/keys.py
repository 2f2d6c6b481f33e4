"""Tensor names (keys) in LDM's layout, and the variants of them that occur in files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

UNET_PREFIX = "model.diffusion_model."
UNET_PREFIX_VARIANTS = (
    "diffusion_model.",
    "",
)  # of UNets that other programs cut out or saved without it
VAE_PREFIX = "first_stage_model."
COND_STAGE_PREFIX = "cond_stage_model."
CLIP_PREFIX = COND_STAGE_PREFIX + "transformer.text_model."
OPEN_CLIP_PREFIX = COND_STAGE_PREFIX + "model."
DEPTH_PREFIX = "depth_model.model."
EMA_PREFIX = "model_ema."
CLIP_PREFIX_VARIANTS = ("transformer.text_model.", "text_model.", "")
UNET_INPUT_KEY = UNET_PREFIX + "input_blocks.0.0.weight"
UNET_CONTEXT_KEY = UNET_PREFIX + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
UNET_PROJ_IN_KEY = UNET_PREFIX + "middle_block.1.proj_in.weight"
UNET_LABEL_KEY = UNET_PREFIX + "label_emb.0.0.weight"  # of the vector of pooled text and sizes
VAE_ENCODER_INPUT_KEY = VAE_PREFIX + "encoder.conv_in.weight"
VAE_DECODER_INPUT_KEY = VAE_PREFIX + "decoder.conv_in.weight"
CLIP_TOKEN_EMBEDDING_KEY = CLIP_PREFIX + "embeddings.token_embedding.weight"
OPEN_CLIP_TOKEN_EMBEDDING_KEY = OPEN_CLIP_PREFIX + "token_embedding.weight"
# The same tensors of a UNet that diffusers saved, whose names identify it.
DIFFUSERS_UNET_KEYS = {
    UNET_INPUT_KEY: "conv_in.weight",
    UNET_CONTEXT_KEY: "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
    UNET_PROJ_IN_KEY: "mid_block.attentions.0.proj_in.weight",
    UNET_LABEL_KEY: "add_embedding.linear_1.weight",
}
DIFFUSERS_UNET_PREFIXES = ("down_blocks.", "mid_block.", "up_blocks.", "add_embedding.")
DIFFUSERS_VAE_KEY = "encoder.down_blocks.0.resnets.0.conv1.weight"
CLIP_PROJECTION_KEY = COND_STAGE_PREFIX + "transformer.text_projection.weight"
OPEN_CLIP_PROJECTION_KEY = OPEN_CLIP_PREFIX + "text_projection"


@lru_cache(maxsize=4096)
def key_variants(name: str, *, use_ema: bool = False) -> tuple[str, ...]:
    """Return the names that a tensor of LDM's layout can have in files, best first.

    Args:
        name: Name in LDM's layout.
        use_ema: Whether EMA weights are preferred to the last weights.
    """
    if name.startswith(CLIP_PREFIX):
        rest = name.removeprefix(CLIP_PREFIX)
        # Some merged files lack "text_model."; separate text encoder files may have any part of the prefix.
        return (
            name,
            f"{COND_STAGE_PREFIX}transformer.{rest}",
            *(prefix + rest for prefix in CLIP_PREFIX_VARIANTS),
        )
    if name == CLIP_PROJECTION_KEY:
        return name, "text_projection.weight"
    if name.startswith(OPEN_CLIP_PREFIX):
        return name, name.removeprefix(OPEN_CLIP_PREFIX)
    if name.startswith(UNET_PREFIX):  # LitEma's names have no dots
        ema_name = EMA_PREFIX + name.removeprefix("model.").replace(".", "")
        rest = name.removeprefix(UNET_PREFIX)
        others = tuple(prefix + rest for prefix in UNET_PREFIX_VARIANTS if rest)
        if name in DIFFUSERS_UNET_KEYS:
            others += (DIFFUSERS_UNET_KEYS[name],)
        return (ema_name, name, *others) if use_ema else (name, *others, ema_name)
    if name.startswith(VAE_PREFIX):  # separate VAE files have no prefix
        return name, name.removeprefix(VAE_PREFIX)
    return (name,)


def find_key(tensors: Mapping[str, object], name: str, *, use_ema: bool = False) -> str | None:
    """Return the name that a tensor of LDM's layout has in the file, or None."""
    for key in key_variants(name, use_ema=use_ema):
        if key in tensors:
            return key
    return None


def count_submodules(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered modules follow a prefix of LDM's layout, as in "input_blocks.0".

    There are at most as many as names: a number of nine digits in one name is not followed by a thousand million layers.
    """
    pattern = re.compile("(?:" + "|".join(map(re.escape, key_variants(prefix))) + r")(\d+)\.")
    numbers = [int(match[1]) for match in map(pattern.match, names) if match]
    return min(1 + max(numbers, default=-1), len(numbers))
