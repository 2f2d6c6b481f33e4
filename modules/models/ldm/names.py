"""Names of tensors in LDM's layout, and the other spellings under which files carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

UNET_PREFIX = "model.diffusion_model."
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
VAE_ENCODER_INPUT_KEY = VAE_PREFIX + "encoder.conv_in.weight"
VAE_DECODER_INPUT_KEY = VAE_PREFIX + "decoder.conv_in.weight"
CLIP_TOKEN_EMBEDDING_KEY = CLIP_PREFIX + "embeddings.token_embedding.weight"
OPEN_CLIP_TOKEN_EMBEDDING_KEY = OPEN_CLIP_PREFIX + "token_embedding.weight"


@dataclass(frozen=True)
class TextEncoderLayout:
    """One way in which files carry a CLIP text encoder.

    Args:
        name: Identity.
        kind: Whose it is, "CLIP" or "OpenCLIP".
        embedder_class: How LDM calls its class, the last part of `target` in a .yaml.
        prefix: Begins every name.
        vocabulary, positions, widest: Tensors that tell the sizes: tokens x width, positions x width,
            inner width x width.
        layers_prefix: Begins the names of the layers, up to their number.
        hidden_act: Unless the .yaml says otherwise.
        pad_token_id: The token after the end mark; None repeats the end mark.
        full_layer_count: With fewer layers than these, the one that is not computed has been left out already.
    """

    name: str
    kind: str
    embedder_class: str
    prefix: str
    token_embedding_key: str
    position_embedding_key: str
    mlp_key: str
    layers_prefix: str
    hidden_act: str
    pad_token_id: int | None
    full_layer_count: int = 0


CLIP_KIND, OPEN_CLIP_KIND = "CLIP", "OpenCLIP"
CLIP_LAYOUT = TextEncoderLayout(
    CLIP_KIND,
    CLIP_KIND,
    "FrozenCLIPEmbedder",
    CLIP_PREFIX,
    CLIP_TOKEN_EMBEDDING_KEY,
    CLIP_PREFIX + "embeddings.position_embedding.weight",
    CLIP_PREFIX + "encoder.layers.0.mlp.fc1.weight",
    CLIP_PREFIX + "encoder.layers.",
    "quick_gelu",
    pad_token_id=None,
)
# LDM calls open_clip.tokenize for it, which pads with zeros.
OPEN_CLIP_LAYOUT = TextEncoderLayout(
    OPEN_CLIP_KIND,
    OPEN_CLIP_KIND,
    "FrozenOpenCLIPEmbedder",
    OPEN_CLIP_PREFIX,
    OPEN_CLIP_TOKEN_EMBEDDING_KEY,
    OPEN_CLIP_PREFIX + "positional_embedding",
    OPEN_CLIP_PREFIX + "transformer.resblocks.0.mlp.c_fc.weight",
    OPEN_CLIP_PREFIX + "transformer.resblocks.",
    "gelu",
    pad_token_id=0,
)
# ViT-H has 24 layers; the copy that goes with SD 2.x in transformers' layout ends with the 23rd.
OPEN_CLIP_TRANSFORMERS_LAYOUT = replace(
    CLIP_LAYOUT,
    name="OpenCLIP as transformers saves it",
    kind=OPEN_CLIP_KIND,
    embedder_class=OPEN_CLIP_LAYOUT.embedder_class,
    hidden_act=OPEN_CLIP_LAYOUT.hidden_act,
    pad_token_id=OPEN_CLIP_LAYOUT.pad_token_id,
    full_layer_count=24,
)
TEXT_ENCODER_LAYOUTS = (CLIP_LAYOUT, OPEN_CLIP_LAYOUT, OPEN_CLIP_TRANSFORMERS_LAYOUT)
OPEN_CLIP_WIDTH = 1024  # of ViT-H; no encoder that is spelled as CLIP and used with SD is so wide


class HasShape(Protocol):
    """A tensor or what a header tells of one."""

    @property
    def shape(self) -> Sequence[int]:
        """Return the size of each axis."""
        ...


def detect_text_encoder_layout(tensors: Mapping[str, HasShape]) -> TextEncoderLayout | None:
    """Return how a file carries its text encoder, None when it has none."""
    if find_key(tensors, OPEN_CLIP_TOKEN_EMBEDDING_KEY):
        return OPEN_CLIP_LAYOUT
    vocabulary = find_key(tensors, CLIP_TOKEN_EMBEDDING_KEY)
    if vocabulary is None:
        return None
    is_converted = tuple(tensors[vocabulary].shape[1:]) == (OPEN_CLIP_WIDTH,)
    return OPEN_CLIP_TRANSFORMERS_LAYOUT if is_converted else CLIP_LAYOUT


def key_variants(name: str, *, use_ema: bool = False) -> tuple[str, ...]:
    """Return the names under which files carry a tensor of LDM's layout, best first.

    Args:
        name: In LDM's layout.
        use_ema: Whether the training's moving average is better than the last weights.
    """
    if name.startswith(CLIP_PREFIX):
        rest = name.removeprefix(CLIP_PREFIX)
        # Some merges were written without "text_model."; a text encoder's own file may begin with any part of it.
        return (
            name,
            f"{COND_STAGE_PREFIX}transformer.{rest}",
            *(start + rest for start in CLIP_PREFIX_VARIANTS),
        )
    if name.startswith(OPEN_CLIP_PREFIX):
        return name, name.removeprefix(OPEN_CLIP_PREFIX)
    if name.startswith(UNET_PREFIX):  # LitEma's names have no dots
        average = EMA_PREFIX + name.removeprefix("model.").replace(".", "")
        return (average, name) if use_ema else (name, average)
    if name.startswith(VAE_PREFIX):  # a VAE_PREFIX's own file has no prefix
        return name, name.removeprefix(VAE_PREFIX)
    return (name,)


def find_key(tensors: Mapping[str, object], name: str, *, use_ema: bool = False) -> str | None:
    """Return the name under which the file carries a tensor of LDM's layout, or None."""
    return next((s for s in key_variants(name, use_ema=use_ema) if s in tensors), None)


def count_submodules(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered modules follow a prefix of LDM's layout, as in "input_blocks.0"."""
    number = re.compile("(?:" + "|".join(map(re.escape, key_variants(prefix))) + r")(\d+)\.")
    found = (number.match(name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
