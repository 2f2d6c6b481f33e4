"""Writes checkpoints of a made-up family with two text encoders and latents of its own: the real classes made tiny.

path = write_twin(tmp_path / "twin.safetensors")     # also writes twin.yaml
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from modules.backend.loading import ldm_keys
from modules.models.families import REQUIRED_COMPONENTS, Family, LatentFormat
from modules.models.key_condition import KeyCondition
from modules.models.ldm.keys import COND_STAGE_PREFIX, UNET_INPUT_KEY
from modules.models.ldm.text_encoder_layouts import OPEN_CLIP_KIND, TextEncoderSlot
from tests.backend.checkpoints import TEXT_SIZES, UNET, WIDTH, tiny_modules, write_checkpoint
from tests.backend.checkpoints_sd2 import OpenClipText

CLIP_WIDTH, OPEN_CLIP_WIDTH = 32, 16
LATENTS = LatentFormat(channels=6, scale=0.5, shift=0.25, pixels_per_cell=4)
FIRST, SECOND = "conditioner.embedders.0.", "conditioner.embedders.1."
TWIN = Family(
    "Twin",
    (KeyCondition(has=(SECOND + "model.ln_final.weight", UNET_INPUT_KEY)),),
    config_file="v1-inference.yaml",
    component_keys=REQUIRED_COMPONENTS,
    text_encoders=(
        TextEncoderSlot(FIRST, "conditioner_config.params.emb_models.0"),
        TextEncoderSlot(
            SECOND,
            "conditioner_config.params.emb_models.1",
            has_projection=True,
            kind=OPEN_CLIP_KIND,
            width=OPEN_CLIP_WIDTH,
        ),
    ),
    latent_format=LATENTS,
    precedes=("SDXL", "SD 1.x"),  # SDXL also has a second embedder
)
_CHANNEL_KEYS = (
    "unet_config.params.in_channels",
    "unet_config.params.out_channels",
    "first_stage_config.params.embed_dim",
    "first_stage_config.params.ddconfig.z_channels",
)
CHANGES: Mapping[str, Any] = {
    "scale_factor": LATENTS.scale,
    "shift_factor": LATENTS.shift,
    "unet_config.params.context_dim": CLIP_WIDTH + OPEN_CLIP_WIDTH,
    "first_stage_config.params.ddconfig.ch_mult": [1, 1, 2],
    "cond_stage_config": None,
    "conditioner_config": {
        "params": {
            "emb_models": [
                {
                    "target": "sgm.modules.encoders.modules.FrozenCLIPEmbedder",
                    "params": {"text_config": TEXT_SIZES},
                },
                {
                    "target": "sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
                    "params": {"layer": "penultimate", "text_config": {"num_attention_heads": 2}},
                },
            ]
        }
    },
}


@functools.cache
def twin_modules(
    channels: int = LATENTS.channels,
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel, OpenClipText]:
    """Return the networks with random weights; do not modify them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=CLIP_WIDTH + OPEN_CLIP_WIDTH,
            attention_head_dim=2,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            latent_channels=channels,
            norm_num_groups=4,
        )
        open_clip = OpenClipText(OPEN_CLIP_WIDTH, 2, 3)
    return unet.eval(), vae.eval(), tiny_modules()[2], open_clip.eval()


def twin_weights(channels: int = LATENTS.channels) -> dict[str, Tensor]:
    """Return the networks as the tensors of a file in LDM's layout."""
    unet, vae, clip, open_clip = twin_modules(channels)
    weights = {ldm_keys.unet_key(key, UNET): value for key, value in unet.state_dict().items()}
    weights |= {ldm_keys.vae_key(key, 3): value for key, value in vae.state_dict().items()}
    weights |= {
        ldm_keys.clip_key(key).replace(COND_STAGE_PREFIX, FIRST): value
        for key, value in clip.state_dict().items()
    }
    weights |= {f"{SECOND}model.{key}": value for key, value in open_clip.state_dict().items()}
    return {key: value.detach().clone().contiguous() for key, value in weights.items()}


def write_twin(
    path: Path, *, weights: Mapping[str, Tensor] | None = None, channels: int = LATENTS.channels
) -> Path:
    """Write a checkpoint and its .yaml and return the checkpoint's path."""
    changes = {**CHANGES, **dict.fromkeys(_CHANNEL_KEYS, channels)}
    return write_checkpoint(path, weights=weights or twin_weights(channels), changes=changes)
