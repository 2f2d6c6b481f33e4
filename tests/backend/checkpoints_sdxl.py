"""Writes SDXL checkpoints in the original layout: the real classes made tiny, with seeded random weights.

path = write_sdxl(tmp_path / "tiny.safetensors")     # also writes tiny.yaml, as generative-models has them
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from modules.backend.loading import ldm_keys
from modules.models.ldm.keys import COND_STAGE_PREFIX, VAE_PREFIX
from modules.models.ldm.unet import UNetConfig
from tests.backend.checkpoints import DESCRIPTION, TEXT_SIZES, WIDTH, tiny_modules, tiny_weights
from tests.backend.checkpoints_sd2 import UNET as SD2_UNET
from tests.backend.checkpoints_sd2 import OpenClipText

CLIP_L, CLIP_G = "conditioner.embedders.0.", "conditioner.embedders.1."
CLIP_L_WIDTH, CLIP_G_WIDTH, CLIP_G_LAYERS, CLIP_G_HEADS = 32, 16, 3, 2
SIZE_WIDTH = 256
SCALE = 0.13025
UNET = replace(
    SD2_UNET,
    transformer_depth=(1, 2),
    context_dim=CLIP_L_WIDTH + CLIP_G_WIDTH,
    image_size=64,
    adm_in_channels=CLIP_G_WIDTH + 6 * SIZE_WIDTH,
)
REFINER_UNET = replace(
    UNET, context_dim=CLIP_G_WIDTH, adm_in_channels=CLIP_G_WIDTH + 5 * SIZE_WIDTH
)


def tiny_unet(config: UNetConfig = UNET, seed: int = 0) -> UNet2DConditionModel:
    """Return a tiny UNet of SDXL or its refiner with random weights, created without the loader."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=8,
            in_channels=config.in_channels,
            block_out_channels=(WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=config.context_dim,
            attention_head_dim=config.num_heads,
            transformer_layers_per_block=config.transformer_depth,
            norm_num_groups=8,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=SIZE_WIDTH,
            projection_class_embeddings_input_dim=config.adm_in_channels,
        ).eval()


@functools.cache
def tiny_clip_g() -> OpenClipText:
    """Return a tiny second text encoder of SDXL with random weights; do not modify it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OpenClipText(CLIP_G_WIDTH, CLIP_G_HEADS, CLIP_G_LAYERS).eval()


def unet_weights(config: UNetConfig = UNET, seed: int = 0) -> dict[str, Tensor]:
    """Return the tensors of a tiny UNet in a file."""
    state_dict = tiny_unet(config, seed).state_dict()
    return {ldm_keys.unet_key(key, config): value for key, value in state_dict.items()}


def sdxl_weights(
    config: UNetConfig = UNET, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return a tiny SDXL model as the tensors of a file; a refiner with REFINER_UNET."""
    weights = unet_weights(config, seed)
    clip_g = CLIP_G
    if config.context_dim == CLIP_G_WIDTH:
        clip_g = CLIP_L  # a refiner has it in the first place
    else:
        weights |= {
            ldm_keys.clip_key(key).replace(COND_STAGE_PREFIX, CLIP_L): value
            for key, value in tiny_modules()[2].state_dict().items()
        }
    weights |= {f"{clip_g}model.{key}": v for key, v in tiny_clip_g().state_dict().items()}
    weights |= {k: v for k, v in tiny_weights().items() if k.startswith(VAE_PREFIX)}
    return {key: v.detach().to(dtype).clone().contiguous() for key, v in weights.items()}


def sdxl_description(config: UNetConfig = UNET, scaling: str = "EpsScaling") -> dict[str, Any]:
    """Return the .yaml of a tiny model, as those of generative-models are."""
    network = {
        "num_classes": "sequential",
        "adm_in_channels": config.adm_in_channels,
        "in_channels": config.in_channels,
        "out_channels": 4,
        "model_channels": WIDTH,
        "attention_resolutions": [2],
        "num_res_blocks": 1,
        "channel_mult": [1, 2],
        "num_head_channels": 16,
        "use_linear_in_transformer": True,
        "transformer_depth": list(config.transformer_depth),
        "context_dim": config.context_dim,
        "spatial_transformer_attn_type": "softmax-xformers",
        "norm_num_groups": 8,
    }
    clip_l = _embedder("FrozenCLIPEmbedder", layer="hidden", layer_idx=1, text_config=TEXT_SIZES)
    clip_g = _embedder(
        "FrozenOpenCLIPEmbedder2",
        layer="penultimate",
        always_return_pooled=True,
        legacy=False,
        text_config={"num_attention_heads": CLIP_G_HEADS},
    )
    is_refiner = config.context_dim == CLIP_G_WIDTH
    params = {
        "scale_factor": SCALE,
        "denoiser_config": {
            "params": {"scaling_config": {"target": f"sgm.x.denoiser_scaling.{scaling}"}}
        },
        "network_config": {"target": "sgm.x.openaimodel.UNetModel", "params": network},
        "conditioner_config": {
            "params": {"emb_models": [clip_g] if is_refiner else [clip_l, clip_g]}
        },
        "first_stage_config": DESCRIPTION["model"]["params"]["first_stage_config"],
    }
    return {"model": {"params": copy.deepcopy(params)}}


def _embedder(name: str, **params: Any) -> dict[str, Any]:
    return {"target": f"sgm.modules.encoders.modules.{name}", "params": params}


def write_sdxl(
    path: Path,
    config: UNetConfig = UNET,
    *,
    weights: Mapping[str, Tensor] | None = None,
    scaling: str = "EpsScaling",
    seed: int = 0,
) -> Path:
    """Write a tiny checkpoint and its .yaml and return the checkpoint's path.

    Args:
        path: Of the .safetensors file.
        config: Of the UNet.
        weights: Instead of the tiny model's.
        scaling: generative-models' class of what the UNet predicts.
        seed: Of the UNet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights) if weights is not None else sdxl_weights(config, seed), path)
    description = yaml.safe_dump(sdxl_description(config, scaling))
    path.with_suffix(".yaml").write_text(description, encoding="utf-8")
    return path
