"""Writes SD 2 depth checkpoints in LDM's layout: the real classes made tiny, with seeded random weights.

path = write_depth(tmp_path / "tiny.safetensors")     # also writes tiny.yaml
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

from modules.backend.loading.depth_keys import depth_key
from modules.models.ldm.names import DEPTH_PREFIX
from tests.backend.checkpoints_sd2 import tiny_sd2_weights, write_sd2


def tiny_config(heads: int = 2, groups: int = 32) -> DPTConfig:
    backbone = BitConfig(
        global_padding="same",
        layer_type="bottleneck",
        depths=[1, 1, 2],
        hidden_sizes=[128, 256, 256],
        embedding_size=32,
        out_features=["stage1", "stage2", "stage3"],
        embedding_dynamic_padding=True,
        num_groups=groups,
    )
    return DPTConfig(
        is_hybrid=True,
        backbone_config=backbone,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=heads,
        intermediate_size=256,
        layer_norm_eps=1e-6,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        backbone_featmap_shape=[1, 256, 4, 4],
        neck_ignore_stages=[0, 1],
        neck_hidden_sizes=[128, 256, 128, 128],
        readout_type="project",
        reassemble_factors=[1, 1, 1, 0.5],
        fusion_hidden_size=32,
    )


@functools.cache
def tiny_estimator() -> DPTForDepthEstimation:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DPTForDepthEstimation(tiny_config()).eval()


def tiny_weights() -> dict[str, Tensor]:
    """Return the tiny estimator as MiDaS's tensors, the ImageNet classifier included."""
    weights, fused = {}, {}
    for key, value in tiny_estimator().state_dict().items():
        name = depth_key(key)
        if isinstance(name, str):
            weights[name] = value
        else:
            fused.setdefault(name.key, {})[name.part] = value
    weights |= {name: torch.cat([parts[n] for n in range(3)]) for name, parts in fused.items()}
    head = DEPTH_PREFIX + "pretrained.model.head."
    return weights | {head + "weight": torch.ones(10, 128), head + "bias": torch.ones(10)}


def write_depth(
    path: Path, *, with_estimator: bool = True, changes: Mapping[str, Any] | None = None
) -> Path:
    """Write a tiny depth checkpoint and its .yaml and return the checkpoint's path."""
    weights = tiny_sd2_weights(5) | (tiny_weights() if with_estimator else {})
    return write_sd2(path, 5, weights=weights, changes=changes)
