"""Networks of spandrel made tiny, with seeded weights, and their files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from modules.backend.device import choose_device
from modules.backend.upscale.spandrel_import import import_spandrel
from modules.backend.upscale.upscalers import Upscalers
from modules.models.files.scan import ModelFile
from modules.models.upscaling.upscalers import Upscaler, UpscalerModel
from modules.params.device_options import DeviceOptions
from modules.plan.upscaling import WHOLE_IMAGE, PlannedUpscaler, Tiles

# Module and class of spandrel, and the arguments that make it tiny.
TINY: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ESRGAN": ("ESRGAN", {"num_filters": 8, "num_blocks": 1, "scale": 2}),
    "Compact": ("Compact", {"num_feat": 8, "num_conv": 2, "upscale": 2}),
    "SwinIR": (
        "SwinIR",
        {
            "img_size": 16,
            "embed_dim": 12,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
            "upscale": 2,
            "upsampler": "nearest+conv",
        },
    ),
    "DAT": (
        "DAT",
        {
            "img_size": 16,
            "embed_dim": 32,
            "split_size": [2, 4],
            "depth": [2],
            "num_heads": [2],
            "upscale": 2,
        },
    ),
    "SCUNet": ("SCUNet", {"config": [1] * 7, "dim": 64}),
    "SPAN": ("SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}),
}


def make_network(name: str, **changes: Any) -> nn.Module:
    """Return a network, its weights drawn from a seed."""
    import_spandrel()
    class_name, arguments = TINY[name]
    module = importlib.import_module(f"spandrel.architectures.{name}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(module, class_name)(**{**arguments, **changes}).eval()


def write_network(path: Path, tensors: Mapping[str, Tensor]) -> ModelFile:
    """Write a file by its ending, and return it as a listed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save({"params_ema": dict(tensors)}, path)
    status = path.stat()
    return ModelFile(path.name, path, status.st_size, status.st_mtime_ns, None)


def planned(file: ModelFile, tiles: Tiles = WHOLE_IMAGE) -> PlannedUpscaler:
    """Return the upscaler of a file."""
    return PlannedUpscaler(Upscaler(file.stem, UpscalerModel(file)), tiles)


def cpu_upscalers() -> Upscalers:
    """Return the upscalers of the CPU."""
    return Upscalers(choose_device(DeviceOptions(use_cpu=True)))
