"""Writes checkpoints in LDM's layout: the real classes made tiny, with seeded random weights.

path = write_checkpoint(tmp_path / "tiny.safetensors")     # also writes tiny.yaml
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from modules.backend.loading import ldm_keys
from modules.models.ldm.unet import UNetConfig

Container = Literal["safetensors", "zip", "legacy"]

WIDTH = 32
TEXT_SIZES = {
    "vocab_size": 49408,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "projection_dim": 32,
}
DESCRIPTION: Mapping[str, Any] = {
    "model": {
        "target": "ldm.models.diffusion.ddpm.LatentDiffusion",
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "timesteps": 1000,
            "scale_factor": 0.18215,
            "unet_config": {
                "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                "params": {
                    "image_size": 8,
                    "in_channels": 4,
                    "out_channels": 4,
                    "model_channels": WIDTH,
                    "attention_resolutions": [2],
                    "num_res_blocks": 1,
                    "channel_mult": [1, 2],
                    "num_heads": 2,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": 32,
                    "legacy": False,
                    "norm_num_groups": 8,
                },
            },
            "first_stage_config": {
                "target": "ldm.models.autoencoder.AutoencoderKL",
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {
                        "double_z": True,
                        "z_channels": 4,
                        "resolution": 64,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 8,
                        "ch_mult": [1, 1, 2, 2],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                        "dropout": 0.0,
                        "norm_num_groups": 4,
                    },
                },
            },
            "cond_stage_config": {
                "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder",
                "params": {"text_config": TEXT_SIZES},
            },
        },
    }
}
UNET = UNetConfig(
    in_channels=4,
    out_channels=4,
    model_channels=WIDTH,
    channel_mult=(1, 2),
    num_res_blocks=1,
    has_attention=(False, True),
    num_heads=(2, 2),
    transformer_depth=(1, 1),
    context_dim=32,
    use_linear_in_transformer=False,
    norm_num_groups=8,
    image_size=8,
)


@functools.cache
def tiny_modules(seed: int = 0) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Return a tiny SD 1.x model with random weights, created without the loader; do not modify it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=2,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=64,
        )
        return unet.eval(), vae.eval(), CLIPTextModel(CLIPTextConfig(**TEXT_SIZES)).eval()


def tiny_weights(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return a tiny SD 1.x model as the tensors of a file in LDM's layout."""
    unet, vae, text_encoder = tiny_modules(seed)
    weights = {ldm_keys.unet_key(key, UNET): value for key, value in unet.state_dict().items()}
    weights |= {
        ldm_keys.vae_key(key, 4): _as_convolution(key, v) for key, v in vae.state_dict().items()
    }
    weights |= {ldm_keys.clip_key(key): value for key, value in text_encoder.state_dict().items()}
    return {name: value.to(dtype).contiguous() for name, value in weights.items()}


def tiny_description(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the .yaml of the tiny model; the key of a change is a path such as "unet_config.params.num_heads"."""
    description = copy.deepcopy(dict(DESCRIPTION))
    for path, value in (changes or {}).items():
        section = description["model"]["params"]
        *parents, key = path.split(".")
        for parent in parents:
            section = section[parent]
        if value is None:
            section.pop(key, None)
        else:
            section[key] = copy.deepcopy(value)  # a later change may modify it
    return description


def write_yaml(path: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the .yaml of the tiny model and return its path."""
    path.write_text(yaml.safe_dump(tiny_description(changes)), encoding="utf-8")
    return path


def write_checkpoint(
    path: Path,
    *,
    weights: Mapping[str, Any] | None = None,
    container: Container | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a checkpoint and its .yaml and return the checkpoint's path.

    Args:
        path: Its extension determines the container unless `container` is set.
        weights: Instead of the tiny model's.
        changes: To the .yaml, see tiny_description.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = tiny_weights(seed, dtype) if weights is None else dict(weights)
    container = container or ("zip" if path.suffix.lower() == ".ckpt" else "safetensors")
    if container == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=container == "zip")
    write_yaml(path.with_suffix(".yaml"), changes)
    return path


def same(module: nn.Module, other: nn.Module) -> bool:
    """Return whether two modules have the same weights, bit for bit."""
    mine, theirs = module.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def _as_convolution(key: str, value: Tensor) -> Tensor:
    is_attention = "attentions" in key and value.ndim == 2
    return value[:, :, None, None] if is_attention else value
