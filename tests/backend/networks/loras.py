"""LoRA files for the tiny model, and what the plan says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from modules.models.index import ModelIndex
from modules.models.networks.network_kinds import LORA
from modules.plan.networks.loras import LoraUse
from tests.conftest import ROOT

# A layer of the tiny UNet and one of its text encoder, in kohya's spelling, and the shapes of their weights.
TO_Q = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
FC1 = "lora_te_text_model_encoder_layers_0_mlp_fc1"
NORM = "lora_unet_down_blocks_0_resnets_0_norm1"


def draw(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) / 4).to(dtype)


def lora_parts(layer: str, weight: Tensor, rank: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """Return the tensors of a LoRA of a linear layer or a convolution, with half its rank for alpha."""
    down = draw(rank, *weight.shape[1:], seed=seed)
    up = draw(weight.shape[0], rank, *[1] * (weight.dim() - 2), seed=seed + 1)
    return {
        f"{layer}.lora_down.weight": down,
        f"{layer}.lora_up.weight": up,
        f"{layer}.alpha": torch.tensor(rank / 2),
    }


def write_lora(
    folder: Path,
    name: str,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
) -> LoraUse:
    """Write a file and return its use with a weight of 1."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / f"{name}.safetensors", dict(metadata or {}))
    index = ModelIndex({LORA: [folder]}, ROOT / "configs", folder / "cache")
    file = index.networks.find(LORA, name)
    assert file is not None
    return LoraUse(name, file)
