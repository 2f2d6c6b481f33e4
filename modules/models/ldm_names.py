"""Names of tensors in LDM's layout, and the other spellings under which files carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT_STAGE = "cond_stage_model."
TEXT = TEXT_STAGE + "transformer.text_model."
OPEN_CLIP = TEXT_STAGE + "model."
DEPTH = "depth_model.model."
AVERAGE = "model_ema."
TEXT_STARTS = ("transformer.text_model.", "text_model.", "")
UNET_INPUT = UNET + "input_blocks.0.0.weight"
UNET_CONTEXT = UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
UNET_PROJECTION = UNET + "middle_block.1.proj_in.weight"
VAE_INPUT = VAE + "encoder.conv_in.weight"
VAE_OUTPUT = VAE + "decoder.conv_in.weight"
VOCABULARY = TEXT + "embeddings.token_embedding.weight"
OPEN_CLIP_VOCABULARY = OPEN_CLIP + "token_embedding.weight"


@dataclass(frozen=True)
class TextLayout:
    """One way in which files carry a CLIP text encoder.

    Args:
        name: Identity.
        kind: Whose it is, "CLIP" or "OpenCLIP".
        embedder: How LDM calls its class, the last part of `target` in a .yaml.
        prefix: Begins every name.
        vocabulary, positions, widest: Tensors that tell the sizes: tokens x width, positions x width,
            inner width x width.
        layers: Begins the names of the layers, up to their number.
        activation: Unless the .yaml says otherwise.
        padding: The token after the end mark; None repeats the end mark.
        full_layers: With fewer layers than these, the one that is not computed has been left out already.
    """

    name: str
    kind: str
    embedder: str
    prefix: str
    vocabulary: str
    positions: str
    widest: str
    layers: str
    activation: str
    padding: int | None
    full_layers: int = 0


CLIP, OPEN_CLIP_KIND = "CLIP", "OpenCLIP"
CLIP_LAYOUT = TextLayout(
    CLIP,
    CLIP,
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
    OPEN_CLIP_KIND,
    OPEN_CLIP_KIND,
    "FrozenOpenCLIPEmbedder",
    OPEN_CLIP,
    OPEN_CLIP_VOCABULARY,
    OPEN_CLIP + "positional_embedding",
    OPEN_CLIP + "transformer.resblocks.0.mlp.c_fc.weight",
    OPEN_CLIP + "transformer.resblocks.",
    "gelu",
    padding=0,
)
# ViT-H has 24 layers; the copy that goes with SD 2.x in transformers' layout ends with the 23rd.
CONVERTED_LAYOUT = replace(
    CLIP_LAYOUT,
    name="OpenCLIP as transformers saves it",
    kind=OPEN_CLIP_KIND,
    embedder=OPEN_CLIP_LAYOUT.embedder,
    activation=OPEN_CLIP_LAYOUT.activation,
    padding=OPEN_CLIP_LAYOUT.padding,
    full_layers=24,
)
TEXT_LAYOUTS = (CLIP_LAYOUT, OPEN_CLIP_LAYOUT, CONVERTED_LAYOUT)
OPEN_CLIP_WIDTH = 1024  # of ViT-H; no encoder that is spelled as CLIP and used with SD is so wide


class HasShape(Protocol):
    """A tensor or what a header tells of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Return the size of each axis."""
        ...


def text_layout(tensors: Mapping[str, HasShape]) -> TextLayout | None:
    """Return how a file carries its text encoder, None when it has none."""
    if actual_name(tensors, OPEN_CLIP_VOCABULARY):
        return OPEN_CLIP_LAYOUT
    vocabulary = actual_name(tensors, VOCABULARY)
    if vocabulary is None:
        return None
    is_converted = tuple(tensors[vocabulary].shape[1:]) == (OPEN_CLIP_WIDTH,)
    return CONVERTED_LAYOUT if is_converted else CLIP_LAYOUT


def spellings(name: str, *, averaged: bool = False) -> tuple[str, ...]:
    """Return the names under which files carry a tensor of LDM's layout, best first.

    Args:
        name: In LDM's layout.
        averaged: Whether the training's moving average is better than the last weights.
    """
    if name.startswith(TEXT):
        rest = name.removeprefix(TEXT)
        # Some merges were written without "text_model."; a text encoder's own file may begin with any part of it.
        return name, f"{TEXT_STAGE}transformer.{rest}", *(start + rest for start in TEXT_STARTS)
    if name.startswith(OPEN_CLIP):
        return name, name.removeprefix(OPEN_CLIP)
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
