"""What tiles cost an upscaler over the bare call of spandrel on the same picture, and its peak memory at two sizes.

Times are those of the processor, so that other programs do not count.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NAME = "realesr-animevideov3"  # the one that ships
SIDE = 376  # two tiles of 192 pixels with their overlap of 8
MEMORY_SIDES = (376, 744)

Compare = Callable[
    [Callable[[], float], Callable[[], float], int], tuple[list[float], list[float], list[float]]
]


def run(rounds: int, compare: Compare) -> None:
    """Print all figures."""
    ratios, ours, bare = compare(_time_tiles, _time_spandrel, min(rounds, 3))
    print(
        f"{SIDE}x{SIDE} by 4 in tiles of 192: {statistics.median(ours):.2f} s; whole by spandrel: {statistics.median(bare):.2f} s"
    )
    print(
        f"ratio, median of {len(ratios)} pairs: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
    )
    for side in MEMORY_SIDES:
        command = [sys.executable, str(Path(__file__)), str(side)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peak, result = map(int, done.stdout.split())
        print(
            f"{side}x{side}: {peak / 1e6:.0f} MB above one tile, {result / 1e6:.0f} MB of that the result's pixels"
        )


def _image(side: int) -> Image.Image:
    draws = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return Image.fromarray(draws).resize((side, side), Image.Resampling.BICUBIC)


def _upscale(side: int) -> Image.Image:
    import torch

    from modules.backend.device import choose_device
    from modules.backend.upscale.upscalers import Upscalers
    from modules.models.index import ModelIndex
    from modules.models.kinds import UPSCALER
    from modules.models.upscaler_list import UpscalerList
    from modules.models.upscaling.upscalers import UPSCALERS
    from modules.params.device_options import DeviceOptions
    from modules.params.settings import Settings
    from modules.plan.upscaling import plan_image_upscaler

    index = ModelIndex({UPSCALER: [ROOT / "models" / "RealESRGAN"]}, ROOT, ROOT)
    planned = plan_image_upscaler(UpscalerList(UPSCALERS, index).get(NAME), Settings())
    upscalers = Upscalers(choose_device(DeviceOptions(use_cpu=True)))
    with torch.inference_mode():
        return upscalers.upscale(_image(side), planned, 4)


def _time_tiles() -> float:
    started_at = time.process_time()
    _upscale(SIDE)
    return time.process_time() - started_at


def _time_spandrel() -> float:
    """Return the seconds of loading the file, one call on the whole picture, and its pixels."""
    import torch
    from safetensors.torch import load_file

    from modules.backend.upscale.spandrel_import import import_spandrel

    image = _image(SIDE)
    started_at = time.process_time()
    spandrel = import_spandrel()
    tensors = load_file(ROOT / "models" / "RealESRGAN" / f"{NAME}.safetensors")
    model = spandrel.ModelLoader().load_from_state_dict(tensors).float().eval()
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        output = model(pixels)[0].mul(255).round().byte()
        Image.fromarray(output.permute(1, 2, 0).numpy())
    return time.process_time() - started_at


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(side: int) -> None:
    """Print the peak memory of upscaling above that of a single tile, and the bytes of the result's pixels."""
    _upscale(192)
    before = _peak_bytes()
    result = _upscale(side)
    print(_peak_bytes() - before, result.width * result.height * 4)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    measure(int(sys.argv[1]))
