"""Maps keys of diffusers' and transformers' models to the keys of files in LDM's layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import NamedTuple

from modules.models.ldm.keys import (
    CLIP_PREFIX,
    CLIP_PROJECTION_KEY,
    COND_STAGE_PREFIX,
    DIFFUSERS_UNET_KEYS,
    DIFFUSERS_VAE_KEY,
    OPEN_CLIP_PREFIX,
    OPEN_CLIP_PROJECTION_KEY,
    UNET_INPUT_KEY,
    UNET_PREFIX,
)
from modules.models.ldm.text_encoder_layouts import TextEncoderLayout
from modules.models.ldm.unet import UNetConfig
from modules.models.ldm.vae_keys import diffusers_vae_key, rename_module, vae_key

_UNET_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OPEN_CLIP_TOP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_VISION_TOP = {
    "embeddings.class_embedding": "visual.class_embedding",
    "embeddings.patch_embedding.weight": "visual.conv1.weight",
    "embeddings.position_embedding.weight": "visual.positional_embedding",
    "pre_layrnorm.weight": "visual.ln_pre.weight",  # spelled so in transformers
    "pre_layrnorm.bias": "visual.ln_pre.bias",
    "post_layernorm.weight": "visual.ln_post.weight",
    "post_layernorm.bias": "visual.ln_post.bias",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")


class QkvSlice(NamedTuple):
    """Third number `part`, from 0, of the rows of a tensor that joins query, key and value."""

    key: str
    part: int


class Transposed(NamedTuple):
    """A matrix whose rows are the parameter's columns."""

    key: str


FileKey = str | QkvSlice | Transposed  # where a parameter is in a file
_PROJECTION = "text_projection.weight"


def unet_key(key: str, config: UNetConfig) -> str:
    """Return LDM's key of a parameter of UNet2DConditionModel."""
    block, _, rest = key.partition(".")
    if block == "up_blocks":
        level, part, index, leaf = rest.split(".", 3)
        return UNET_PREFIX + _up(int(level), part, int(index), leaf, config)
    return UNET_PREFIX + unet_encoder_key(key, config.num_res_blocks)


def unet_encoder_key(key: str, num_res_blocks: int) -> str:
    """Return LDM's key of a parameter of UNet2DConditionModel outside its decoder, without the prefix of a checkpoint."""
    block, _, rest = key.partition(".")
    if block == "down_blocks":
        level, part, index, leaf = rest.split(".", 3)
        return _down(int(level), part, int(index), leaf, num_res_blocks)
    if block == "mid_block":
        part, index, leaf = rest.split(".", 2)
        if part == "attentions":
            return f"middle_block.1.{leaf}"
        return f"middle_block.{2 * int(index)}.{rename_module(leaf, _UNET_RESNET)}"
    return rename_module(key, _UNET_TOP)


def unet_file_key(names: Container[str], config: UNetConfig) -> Callable[[str], str]:
    """Return the function from a key of UNet2DConditionModel to the key in a file, which may be diffusers' own.

    Args:
        names: All keys of the file.
        config: Sizes of the UNet.
    """
    if DIFFUSERS_UNET_KEYS[UNET_INPUT_KEY] in names:
        return str
    return partial(unet_key, config=config)


def vae_file_key(names: Container[str], level_count: int) -> Callable[[str], str]:
    """Return the function from a key of AutoencoderKL to the key in a file, which may be diffusers' own.

    Args:
        names: All keys of the file.
        level_count: Number of resolutions of the autoencoder.
    """
    if DIFFUSERS_VAE_KEY in names:
        return partial(diffusers_vae_key, names=names)
    return partial(vae_key, level_count=level_count)


def clip_key(key: str) -> str:
    """Return LDM's key of a parameter of CLIPTextModel, with or without projection."""
    if key == _PROJECTION:
        return CLIP_PROJECTION_KEY
    return CLIP_PREFIX + key.removeprefix("text_model.")


def open_clip_key(key: str) -> FileKey:
    """Return OpenCLIP's key of a parameter of CLIPTextModel, with or without projection."""
    if key == _PROJECTION:
        return Transposed(OPEN_CLIP_PROJECTION_KEY)
    key = key.removeprefix("text_model.")
    if key in _OPEN_CLIP_TOP:
        return OPEN_CLIP_PREFIX + _OPEN_CLIP_TOP[key]
    return _open_clip_layer_key(key, f"{OPEN_CLIP_PREFIX}transformer")


def open_clip_vision_key(key: str) -> FileKey:
    """Return OpenCLIP's key of a parameter of CLIPVisionModelWithProjection."""
    if key == "visual_projection.weight":
        return Transposed("visual.proj")
    key = key.removeprefix("vision_model.")
    if key in _OPEN_CLIP_VISION_TOP:
        return _OPEN_CLIP_VISION_TOP[key]
    return _open_clip_layer_key(key, "visual.transformer")


def _open_clip_layer_key(key: str, transformer: str) -> FileKey:
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", key)
    assert match is not None, key
    number, module, leaf = match.groups()
    block = f"{transformer}.resblocks.{number}."
    if module in _OPEN_CLIP_LAYER:
        return f"{block}{_OPEN_CLIP_LAYER[module]}.{leaf}"
    return QkvSlice(
        f"{block}attn.in_proj_{leaf}", _QUERY_KEY_VALUE.index(module.removeprefix("self_attn."))
    )


# From a key of transformers' CLIP to the key in the file.
TextEncoderKey = Callable[[str], FileKey]
# By the layout's prefix.
TEXT_ENCODER_KEYS: Mapping[str, TextEncoderKey] = {
    CLIP_PREFIX: clip_key,
    OPEN_CLIP_PREFIX: open_clip_key,
}


def text_encoder_key(
    layout: TextEncoderLayout, keys: Mapping[str, TextEncoderKey] = TEXT_ENCODER_KEYS
) -> TextEncoderKey:
    """Return the function from a key of transformers' CLIP to the key in a file of this layout."""
    original = layout.under(COND_STAGE_PREFIX)
    find = keys[original.prefix]
    if layout == original:
        return find

    def find_in_slot(key: str) -> FileKey:
        found = find(key)
        name = found if isinstance(found, str) else found.key
        moved = layout.slot_prefix + name.removeprefix(COND_STAGE_PREFIX)
        return moved if isinstance(found, str) else found._replace(key=moved)

    return find_in_slot


def _down(level: int, part: str, index: int, leaf: str, num_res_blocks: int) -> str:
    first = 1 + level * (num_res_blocks + 1)
    if part == "downsamplers":
        return f"input_blocks.{first + num_res_blocks}.0.{leaf.replace('conv', 'op')}"
    return f"input_blocks.{first + index}.{_resnet_or_attention(part, leaf)}"


def _up(level: int, part: str, index: int, leaf: str, config: UNetConfig) -> str:
    first = level * (config.num_res_blocks + 1)
    if part == "upsamplers":
        position = 2 if config.has_attention[-1 - level] else 1
        return f"output_blocks.{first + config.num_res_blocks}.{position}.{leaf}"
    return f"output_blocks.{first + index}.{_resnet_or_attention(part, leaf)}"


def _resnet_or_attention(part: str, leaf: str) -> str:
    return f"0.{rename_module(leaf, _UNET_RESNET)}" if part == "resnets" else f"1.{leaf}"
