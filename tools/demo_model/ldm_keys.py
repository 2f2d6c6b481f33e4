"""Weights under the names of the original Stable Diffusion checkpoints: those the loader looks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from modules.backend.loading.depth_keys import depth_key
from modules.backend.loading.ldm_keys import QkvSlice, clip_key, open_clip_key, unet_key, vae_key
from modules.models.ldm.keys import CLIP_PREFIX, OPEN_CLIP_PREFIX
from modules.models.ldm.unet import read_unet_config
from modules.models.ldm.yaml import YamlSection
from tools.demo_model.architecture import UNET, VAE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Weights = dict[str, torch.Tensor]
SCALE_FACTOR = 0.18215  # every SD 1.x and 2.x program multiplies encoded latents by this


def rename_keys(
    weights: Mapping[str, torch.Tensor], name_of: Callable[[str], str | QkvSlice]
) -> Weights:
    """Return weights under other names; query, key and value are joined where they share one."""
    result: Weights = {}
    thirds: dict[str, dict[int, torch.Tensor]] = {}
    for key, value in weights.items():
        name = name_of(key)
        if isinstance(name, QkvSlice):
            thirds.setdefault(name.key, {})[name.part] = value
        else:
            result[name] = value
    for name, parts in thirds.items():
        result[name] = torch.cat([parts[k] for k in range(3)])
    return result


def ldm_unet(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return UNet weights under LDM's names."""
    config = read_unet_config(
        YamlSection({"unet_config": {"params": UNET}}, Path("architecture.py"))
    )
    return rename_keys(weights, lambda key: unet_key(key, config))


def ldm_vae(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return VAE weights under LDM's names, with the scale factor folded in.

    The demo latents have unit variance; programs multiply by 0.18215 after encoding and divide
    before decoding, so the first and last 1x1 convolution undo that.
    """
    weights = {key: value.clone().float() for key, value in weights.items()}
    channels = VAE["z_channels"]
    weights["quant_conv.weight"][:channels] /= SCALE_FACTOR
    weights["quant_conv.bias"][:channels] /= SCALE_FACTOR
    weights["post_quant_conv.weight"] *= SCALE_FACTOR
    for key, value in weights.items():
        if "mid_block.attentions" in key and value.ndim == 2:  # LDM has 1x1 convolutions there
            weights[key] = value[:, :, None, None]
    return rename_keys(weights, lambda key: vae_key(key, len(VAE["ch_mult"])))


def ldm_clip(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return text encoder weights under the names of SD 1.x (transformers' old ones)."""
    result = rename_keys(weights, clip_key)
    positions = len(result[CLIP_PREFIX + "embeddings.position_embedding.weight"])
    return {**result, CLIP_PREFIX + "embeddings.position_ids": torch.arange(positions)[None]}


def open_clip(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return text encoder weights under OpenCLIP's names, as SD 2.x has them.

    OpenCLIP files hold one layer more than SD 2.x uses ("penultimate"): the last layer is
    repeated, and a text projection is added, so that the file is complete.
    """
    start = "encoder.layers."
    last = max(int(key.split(".")[2]) for key in weights if key.startswith(start))
    repeated = {
        key.replace(f"{start}{last}.", f"{start}{last + 1}."): value
        for key, value in weights.items()
        if key.startswith(f"{start}{last}.")
    }
    width = len(weights["final_layer_norm.weight"])
    return {
        **rename_keys({**weights, **repeated}, open_clip_key),
        OPEN_CLIP_PREFIX + "text_projection": torch.eye(width),
        OPEN_CLIP_PREFIX + "logit_scale": torch.tensor(1.0),
    }


def ldm_depth(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return the depth estimator's weights under the names of SD 2 depth checkpoints."""
    return rename_keys(weights, depth_key)
