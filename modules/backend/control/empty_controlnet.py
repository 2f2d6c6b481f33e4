"""Builds diffusers' ControlNets on the meta device: as the UNet that they copy, and as their file's header says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from modules.backend.loading.empty_models import meta_device
from modules.backend.loading.layers import with_exact_norms
from modules.backend.loading.ldm_keys import unet_encoder_key
from modules.core.errors import BadFile
from modules.models.control.layouts import CONTROLNET_UNION
from modules.models.files.header import Header, TensorInfo

ControlNet = ControlNetModel | ControlNetUnionModel
_ORIGINAL_PREFIX = "control_model."
_HINT = "controlnet_cond_embedding."
_DIFFUSERS_INPUT = "controlnet_cond_embedding.conv_in.weight"
_UNION_HEADS = 8  # of its transformer, whatever its width: github.com/xinsir6/ControlNetPlus
_TYPES_WIDTH = 256  # of the embedding of each control type; likewise
# What a copy of a UNet's encoder half has of the UNet.
_COPIED = (
    "act_fn",
    "addition_embed_type",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "flip_sin_to_cos",
    "freq_shift",
    "layers_per_block",
    "norm_eps",
    "norm_num_groups",
    "num_attention_heads",
    "projection_class_embeddings_input_dim",
    "transformer_layers_per_block",
    "upcast_attention",
    "use_linear_projection",
)


def make_empty_controlnet(
    header: Header, layout: str, unet: UNet2DConditionModel, name: str
) -> ControlNet:
    """Return a ControlNet without weights.

    Args:
        header: Of its file.
        layout: Name of its row of CONTROL_LAYOUTS.
        unet: The UNet that it will guide.
        name: The file's, for messages.

    Raises:
        BadFile: the file lacks a tensor that determines a size.
    """
    options: dict[str, Any] = {key: unet.config[key] for key in _COPIED if key in unet.config}
    key = controlnet_file_key(header, unet)
    try:
        options["conditioning_channels"] = header.tensors[key(_DIFFUSERS_INPUT)].shape[1]
        if key("conv_in.weight") in header.tensors:  # else that of most checkpoints
            options["in_channels"] = header.tensors[key("conv_in.weight")].shape[1]
        options["conditioning_embedding_out_channels"] = _hint_widths(header, key)
    except (KeyError, IndexError) as error:
        raise BadFile(f"'{name}' lacks {error} of a ControlNet.", "Download it again.") from error
    if _DIFFUSERS_INPUT in header.tensors:
        options |= _own_blocks(header.tensors, options)
    with meta_device():
        if layout == CONTROLNET_UNION:
            del options["mid_block_type"]  # it has but one
            options |= _union_sizes(header.tensors)
            return with_exact_norms(
                cast("ControlNetUnionModel", ControlNetUnionModel.from_config(options))
            )
        return with_exact_norms(cast("ControlNetModel", ControlNetModel.from_config(options)))


def controlnet_file_key(header: Header, unet: UNet2DConditionModel) -> Callable[[str], str]:
    """Return the function from a key of diffusers' ControlNets to the key in a file, which may be diffusers' own.

    Args:
        header: Of the file.
        unet: The UNet that the ControlNet will guide.
    """
    if _DIFFUSERS_INPUT in header.tensors:
        return str
    prefix = _ORIGINAL_PREFIX if header.names.any_starts_with(_ORIGINAL_PREFIX) else ""
    hints = [key for key in header.tensors if key.startswith(prefix + "input_hint_block.")]
    last = max(
        (int(number) for key in hints for number in re.findall(r"block\.(\d+)\.", key)), default=0
    )
    num_res_blocks = int(unet.config["layers_per_block"])

    def find(key: str) -> str:
        return prefix + original_key(key, last, num_res_blocks)

    return find


def original_key(key: str, last_hint: int, num_res_blocks: int) -> str:
    """Return the key of a parameter in the original layout, without its prefix.

    Args:
        key: Of diffusers' class.
        last_hint: Number of the last layer of the hint encoder, which has an activation between convolutions.
        num_res_blocks: ResNet blocks of each level.
    """
    if key.startswith(_HINT):
        module, leaf = key.removeprefix(_HINT).rsplit(".", 1)
        numbers = {"conv_in": 0, "conv_out": last_hint}
        number = numbers[module] if module in numbers else 2 + 2 * int(module.split(".")[1])
        return f"input_hint_block.{number}.{leaf}"
    if key.startswith("controlnet_down_blocks."):
        _, number, leaf = key.split(".")
        return f"zero_convs.{number}.0.{leaf}"
    if key.startswith("controlnet_mid_block."):
        return "middle_block_out.0." + key.removeprefix("controlnet_mid_block.")
    return unet_encoder_key(key, num_res_blocks)


def _hint_widths(header: Header, key: Callable[[str], str]) -> tuple[int, ...]:
    """Return the channels of the hint encoder: each width but the last has a convolution that keeps it, and one that leads to the next."""
    widths = [header.tensors[key(_DIFFUSERS_INPUT)].shape[0]]
    while (name := key(f"{_HINT}blocks.{2 * len(widths) - 1}.weight")) in header.tensors:
        widths.append(header.tensors[name].shape[0])
    return tuple(widths)


def _own_blocks(tensors: Mapping[str, TensorInfo], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the blocks of a ControlNet in diffusers' layout: the small ones of SDXL have fewer transformers."""
    levels = len(options["block_out_channels"])
    depths = [_count(tensors, f"down_blocks.{level}.attentions.0.") for level in range(levels)]
    middle = _count(tensors, "mid_block.attentions.0.")
    types = [f"{'CrossAttn' if depth else ''}DownBlock2D" for depth in depths]
    # The middle has as many transformers as the last level, whether that has any itself or not.
    depths = [*(depth or 1 for depth in depths[:-1]), depths[-1] or middle or 1]
    return {
        "down_block_types": tuple(types),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": tuple(depths),
    }


def _count(tensors: Mapping[str, TensorInfo], prefix: str) -> int:
    """Return the number of transformer blocks of an attention layer."""
    count = 0
    while f"{prefix}transformer_blocks.{count}.norm1.weight" in tensors:
        count += 1
    return count


def _union_sizes(tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Return the sizes of the embedding of control types in a Union model."""
    types, width = tensors["task_embedding"].shape
    layers = 0
    while f"transformer_layes.{layers}.ln_1.weight" in tensors:  # spelled so
        layers += 1
    return {
        "num_control_type": types,
        "num_trans_channel": width,
        "num_trans_head": _UNION_HEADS,
        "num_trans_layer": layers,
        "num_proj_channel": tensors["spatial_ch_projs.weight"].shape[0],
        "addition_time_embed_dim": _TYPES_WIDTH,
    }
