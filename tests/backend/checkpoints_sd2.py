"""Writes SD 2.x checkpoints in LDM's layout: the real classes made tiny, with seeded random weights.

path = write_sd2(tmp_path / "tiny.safetensors", in_channels=9)     # also writes tiny.yaml
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.loading import ldm_keys
from tests.backend.checkpoints import UNET as SD1_UNET
from tests.backend.checkpoints import WIDTH, tiny_weights, write_checkpoint

TEXT_WIDTH, HEADS, USED_LAYERS = 32, 2, 2
UNET = replace(SD1_UNET, num_heads=(2, 4), context_dim=TEXT_WIDTH, use_linear_in_transformer=True)
CHANGES: Mapping[str, Any] = {
    "unet_config.params.num_heads": None,
    "unet_config.params.num_head_channels": 16,
    "unet_config.params.use_linear_in_transformer": True,
    "cond_stage_config.target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
    "cond_stage_config.params": {
        "freeze": True,
        "layer": "penultimate",
        "text_config": {"num_attention_heads": HEADS},
    },
}


class OpenClipText(nn.Module):
    """OpenCLIP's text tower by its definition (Cherti et al. 2023), up to the layer before the last."""

    def __init__(self, width: int, heads: int, layers: int, vocabulary: int = 49408) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(0.1 * torch.randn(77, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, width))
        self.logit_scale = nn.Parameter(torch.ones([]))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding
        future = torch.full((77, 77), float("-inf")).triu(1)
        for block in self.transformer.resblocks[:-1]:
            x = block(x, future)
        return self.ln_final(x)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, future: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, attn_mask=future, need_weights=False)[0]
        return x + self.mlp.c_proj(functional.gelu(self.mlp.c_fc(self.ln_2(x))))


@functools.cache
def tiny_sd2_modules(
    in_channels: int = 4, seed: int = 0
) -> tuple[UNet2DConditionModel, OpenClipText]:
    """Return a tiny SD 2.x UNet and text encoder with random weights; do not modify them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=in_channels,
            block_out_channels=(WIDTH, 2 * WIDTH),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=(2, 4),
            norm_num_groups=8,
            use_linear_projection=True,
        )
        return unet.eval(), OpenClipText(TEXT_WIDTH, HEADS, USED_LAYERS + 1).eval()


def tiny_sd2_weights(in_channels: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Return a tiny SD 2.x model as the tensors of a file in LDM's layout."""
    unet, text = tiny_sd2_modules(in_channels, seed)
    weights = {ldm_keys.unet_key(key, UNET): value for key, value in unet.state_dict().items()}
    weights |= {f"cond_stage_model.model.{key}": v for key, v in text.state_dict().items()}
    first_stage = {k: v for k, v in tiny_weights(seed).items() if k.startswith("first_stage")}
    return {key: v.detach().clone().contiguous() for key, v in (weights | first_stage).items()}


def write_sd2(
    path: Path,
    in_channels: int = 4,
    *,
    weights: Mapping[str, Tensor] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a tiny SD 2.x checkpoint and its .yaml and return the checkpoint's path."""
    weights = dict(weights) if weights is not None else tiny_sd2_weights(in_channels)
    changes = {**CHANGES, "unet_config.params.in_channels": in_channels, **(changes or {})}
    return write_checkpoint(path, weights=weights, changes=changes)
