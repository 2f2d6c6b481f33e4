"""Tensor names (keys) in LDM's layout, and the variants of them that occur in files."""

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
    """One layout of a CLIP text encoder in files.

    Args:
        name: Identity.
        kind: "CLIP" or "OpenCLIP".
        embedder_class: LDM's class for it, the last part of `target` in a .yaml.
        prefix: Prefix of every name.
        token_embedding_key: Tensor of shape [vocab_size, hidden_size].
        position_embedding_key: Tensor of shape [max_position_embeddings, hidden_size].
        mlp_key: Tensor of shape [intermediate_size, hidden_size].
        layers_prefix: Prefix of the layers' names, up to the layer number.
        hidden_act: Activation unless the .yaml sets another.
        pad_token_id: The token after the end-of-text token; None repeats the end-of-text token.
        full_layer_count: With fewer layers than this, the layer that is not computed is already missing in the file.
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
# ViT-H has 24 layers; the copy for SD 2.x in transformers' layout ends with the 23rd.
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
OPEN_CLIP_WIDTH = 1024  # of ViT-H; no CLIP text encoder used with SD is that wide


class HasShape(Protocol):
    """A tensor, or its entry in a header."""

    @property
    def shape(self) -> Sequence[int]:
        """Return the size of each axis."""
        ...


def detect_text_encoder_layout(tensors: Mapping[str, HasShape]) -> TextEncoderLayout | None:
    """Return the layout of a file's text encoder, None when it has none."""
    if find_key(tensors, OPEN_CLIP_TOKEN_EMBEDDING_KEY):
        return OPEN_CLIP_LAYOUT
    embedding_key = find_key(tensors, CLIP_TOKEN_EMBEDDING_KEY)
    if embedding_key is None:
        return None
    is_open_clip = tuple(tensors[embedding_key].shape[1:]) == (OPEN_CLIP_WIDTH,)
    return OPEN_CLIP_TRANSFORMERS_LAYOUT if is_open_clip else CLIP_LAYOUT


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
    if name.startswith(OPEN_CLIP_PREFIX):
        return name, name.removeprefix(OPEN_CLIP_PREFIX)
    if name.startswith(UNET_PREFIX):  # LitEma's names have no dots
        ema_name = EMA_PREFIX + name.removeprefix("model.").replace(".", "")
        return (ema_name, name) if use_ema else (name, ema_name)
    if name.startswith(VAE_PREFIX):  # separate VAE files have no prefix
        return name, name.removeprefix(VAE_PREFIX)
    return (name,)


def find_key(tensors: Mapping[str, object], name: str, *, use_ema: bool = False) -> str | None:
    """Return the name that a tensor of LDM's layout has in the file, or None."""
    return next((key for key in key_variants(name, use_ema=use_ema) if key in tensors), None)


def count_submodules(names: Iterable[str], prefix: str) -> int:
    """Return how many numbered modules follow a prefix of LDM's layout, as in "input_blocks.0"."""
    pattern = re.compile("(?:" + "|".join(map(re.escape, key_variants(prefix))) + r")(\d+)\.")
    matches = (pattern.match(name) for name in names)
    return 1 + max((int(match[1]) for match in matches if match), default=-1)
