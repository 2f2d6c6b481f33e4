"""Names of tensors in LDM's layout, and the other spellings under which files carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
OPEN_CLIP = "cond_stage_model.model."
DEPTH = "depth_model.model."
AVERAGE = "model_ema."
UNET_INPUT = UNET + "input_blocks.0.0.weight"
UNET_CONTEXT = UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
VAE_INPUT = VAE + "encoder.conv_in.weight"
VAE_OUTPUT = VAE + "decoder.conv_in.weight"
VOCABULARY = TEXT + "embeddings.token_embedding.weight"
OPEN_CLIP_VOCABULARY = OPEN_CLIP + "token_embedding.weight"


@dataclass(frozen=True)
class TextLayout:
    """One way in which files carry a CLIP text encoder.

    Args:
        name: Identity.
        embedder: How LDM calls its class, the last part of `target` in a .yaml.
        prefix: Begins every name.
        vocabulary, positions, widest: Tensors that tell the sizes: tokens x width, positions x width,
            inner width x width.
        layers: Begins the names of the layers, up to their number.
        activation: Unless the .yaml says otherwise.
        padding: The token after the end mark; None repeats the end mark.
    """

    name: str
    embedder: str
    prefix: str
    vocabulary: str
    positions: str
    widest: str
    layers: str
    activation: str
    padding: int | None


CLIP_LAYOUT = TextLayout(
    "CLIP",
    "FrozenCLIPEmbedder",
    TEXT,
    VOCABULARY,
    TEXT + "embeddings.position_embedding.weight",
    TEXT + "encoder.layers.0.mlp.fc1.weight",
    TEXT + "encoder.layers.",
    "quick_gelu",
    padding=None,
)
# LDM calls open_clip.tokenize for it, which pads with zeros.
OPEN_CLIP_LAYOUT = TextLayout(
    "OpenCLIP",
    "FrozenOpenCLIPEmbedder",
    OPEN_CLIP,
    OPEN_CLIP_VOCABULARY,
    OPEN_CLIP + "positional_embedding",
    OPEN_CLIP + "transformer.resblocks.0.mlp.c_fc.weight",
    OPEN_CLIP + "transformer.resblocks.",
    "gelu",
    padding=0,
)
TEXT_LAYOUTS = (CLIP_LAYOUT, OPEN_CLIP_LAYOUT)


def text_layout(tensors: Mapping[str, object]) -> TextLayout:
    """Return how a file carries its text encoder; CLIP's way when it has none."""
    found = (row for row in TEXT_LAYOUTS if actual_name(tensors, row.vocabulary))
    return next(found, CLIP_LAYOUT)


def spellings(name: str, *, averaged: bool = False) -> tuple[str, ...]:
    """Return the names under which files carry a tensor of LDM's layout, best first.

    Args:
        name: In LDM's layout.
        averaged: Whether the training's moving average is better than the last weights.
    """
    if name.startswith(TEXT):  # some merges were written without "text_model."
        return name, name.replace("text_model.", "", 1)
    if name.startswith(UNET):  # LitEma's names have no dots
        average = AVERAGE + name.removeprefix("model.").replace(".", "")
        return (average, name) if averaged else (name, average)
    if name.startswith(VAE):  # a VAE's own file has no prefix
        return name, name.removeprefix(VAE)
    return (name,)


def actual_name(tensors: Mapping[str, object], name: str, *, averaged: bool = False) -> str | None:
    """Return the name under which the file carries a tensor of LDM's layout, or None."""
    return next((s for s in spellings(name, averaged=averaged) if s in tensors), None)


def count_below(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered modules follow a prefix of LDM's layout, as in "input_blocks.0"."""
    number = re.compile("(?:" + "|".join(map(re.escape, spellings(prefix))) + r")(\d+)\.")
    found = (number.match(name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
