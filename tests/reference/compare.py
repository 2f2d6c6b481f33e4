"""Random weights for the original networks, loading them with our loader, and comparing outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import build_components
from modules.backend.loading.state_dict import read_state_dict
from modules.models.families import Family
from modules.models.files.header import read_header
from modules.models.ldm.config import read_config

Module = TypeVar("Module", bound=nn.Module)
FULL = Precision(torch.float32, torch.float32, torch.float32)
# The rounding error, 2 eps sqrt(terms) as in tests/tolerance.py: 5e-5 for the UNet of the demo checkpoints and for the
# narrow ones, and twice that after a run, whose sigmas sum up to about twice the first.
CLOSE = 1e-4
TRUE_SIZE_CLOSE = 2e-4  # the same of SD's UNet, a sum of 740,000 terms


class Autoencoder(nn.Module):
    """The original encoder and decoder, joined as ldm.models.autoencoder does."""

    def __init__(self, model: Any, ddconfig: dict[str, Any], embed_dim: int) -> None:
        super().__init__()
        channels = ddconfig["z_channels"]
        self.encoder, self.decoder = model.Encoder(**ddconfig), model.Decoder(**ddconfig)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, channels, 1)


def randomized(module: Module) -> Module:
    """Give every weight a random value: the original initialises some layers to zeros, which hide earlier ones."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.normal_(std=1 / math.sqrt(fan_in), generator=generator)
            if parameter.ndim == 1 and name.endswith("weight"):  # of a norm
                parameter += 1
    return module.eval().requires_grad_(False)


def load_original(
    folder: Path, weights: Mapping[str, Tensor], description: Mapping[str, Any]
) -> Components:
    """Return the components loaded from a file with these tensors, whatever its family.

    Args:
        folder: For the file and its .yaml.
        weights: A whole checkpoint in LDM's layout.
        description: The content of the .yaml.
    """
    file, config = folder / "original.safetensors", folder / "original.yaml"
    save_file({name: value.contiguous() for name, value in weights.items()}, file)
    config.write_text(yaml.safe_dump(description), encoding="utf-8")
    header = read_header(file)
    model = read_config(config, header, file.name)
    return build_components(read_state_dict(file, header), model, FULL, file.name, Family("", ()))


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return a module's tensors by their checkpoint keys."""
    return {prefix + name: value for name, value in module.state_dict().items()}


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def agree(ours: Tensor, theirs: Tensor, close: float = CLOSE) -> None:
    """Assert that two outputs differ by no more than rounding."""
    relative = difference(ours, theirs)
    print(f"relative difference {relative:.1e}")  # shown by -rP
    assert relative < close
