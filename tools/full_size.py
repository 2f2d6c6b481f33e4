"""Writes full-size checkpoints with random weights and the names, shapes and dtypes of the published files.

python tools/full_size.py sd1 /tmp/sd1.safetensors               2.1 GB
python tools/full_size.py sd2-depth /tmp/depth.ckpt --dtype F32  5.7 GB
python tools/full_size.py sdxl /tmp/sdxl.safetensors             6.9 GB

Loading, a sampling step and a decode cost as much as with the real files; the images are noise.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ROOT / "tests" / "headers"
FAMILIES = (
    "sd1",
    "sd1-inpainting",
    "instruct-pix2pix",
    "sd2",
    "sd2-inpainting",
    "sd2-depth",
    "sdxl",
    "sdxl-inpainting",
    "sdxl-refiner",
    "vae",
)
DTYPES = {"F16": np.float16, "F32": np.float32}
# Random numbers are expensive: all tensors take theirs from one pool, each from a different offset.
POOL_ITEMS = 4_000_037
STD = 0.02
# Noise schedules are not random; without them the one in the .yaml is used.
SCHEDULE_PREFIXES = ("betas", "alphas_cumprod", "sqrt_", "log_one", "posterior_", "model_ema.")


def write(family: str, path: Path, dtype: str = "F16") -> Path:
    """Write a .safetensors file, or a .ckpt if the path has that extension, and return its path.

    Args:
        family: One of FAMILIES.
        path: The file to write; an existing file is replaced.
        dtype: "F16" or "F32", as the published files are.
    """
    shapes = json.loads((HEADERS / f"{family}.json").read_text(encoding="utf-8"))
    kept = {name: shape for name, shape in shapes.items() if not name.startswith(SCHEDULE_PREFIXES)}
    if path.suffix == ".ckpt":
        safetensors = write(family, path.with_suffix(".tmp"), dtype)
        _convert_to_ckpt(safetensors, path)
        safetensors.unlink()
        return path
    return write_shapes(kept, path, dtype)


def write_shapes(shapes: dict[str, list[int]], path: Path, dtype: str = "F16") -> Path:
    """Write a .safetensors file of random weights with these names and shapes, and return its path."""
    itemsize = np.dtype(DTYPES[dtype]).itemsize
    entries, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + itemsize * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for weights in _random_weights(shapes, dtype):
            file.write(weights.data)
    return path


def _random_weights(shapes: dict[str, list[int]], dtype: str) -> Iterator[np.ndarray]:
    pool = (STD * np.random.default_rng(0).standard_normal(POOL_ITEMS)).astype(DTYPES[dtype])
    start = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        start = (start + 7919) % POOL_ITEMS
        weights = np.resize(pool[start : start + count], count)
        if len(shape) == 1 and name.endswith(".weight"):
            weights += 1  # norms scale by about one, or the activations vanish
        yield weights


def _convert_to_ckpt(source: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(source), "global_step": 875000}, target)


def main() -> None:
    """Read the command line and write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("path", type=Path)
    parser.add_argument("--dtype", choices=list(DTYPES), default="F16")
    args = parser.parse_args()
    written = write(args.family, args.path, args.dtype)
    sys.stdout.write(f"{written}: {written.stat().st_size / 1e9:.2f} GB\n")


if __name__ == "__main__":
    main()
