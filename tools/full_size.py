"""Writes checkpoints of true size with random weights: the names, shapes and dtypes of the published files.

python tools/full_size.py sd1 /tmp/sd1.safetensors               2.1 GB
python tools/full_size.py sd2-depth /tmp/depth.ckpt --dtype F32  5.7 GB

Loading, a step and a decode cost with them what they cost with the real ones; their pictures are noise.
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
    "vae",
)
DTYPES = {"F16": np.float16, "F32": np.float32}
# Random numbers are dear: tensors take theirs from one pool, each from another place in it.
POOL_ITEMS = 4_000_037
SPREAD = 0.02


def write(family: str, path: Path, dtype: str = "F16") -> Path:
    """Write a .safetensors file, or a .ckpt if the path says so, and return its path.

    Args:
        family: One of FAMILIES.
        path: Where to; an existing file is replaced.
        dtype: "F16" or "F32", as the published files are.
    """
    shapes = json.loads((HEADERS / f"{family}.json").read_text(encoding="utf-8"))
    kept = {name: shape for name, shape in shapes.items() if not name.startswith(NOISE)}
    if path.suffix == ".ckpt":
        plain = write(family, path.with_suffix(".tmp"), dtype)
        _repack(plain, path)
        plain.unlink()
        return path
    width = np.dtype(DTYPES[dtype]).itemsize
    entries, end = {}, 0
    for name, shape in kept.items():
        start, end = end, end + width * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for numbers in _numbers(kept, dtype):
            file.write(numbers.data)
    return path


# Schedules are not random; without them the .yaml's holds.
NOISE = ("betas", "alphas_cumprod", "sqrt_", "log_one", "posterior_", "model_ema.")


def _numbers(shapes: dict[str, list[int]], dtype: str) -> Iterator[np.ndarray]:
    pool = (SPREAD * np.random.default_rng(0).standard_normal(POOL_ITEMS)).astype(DTYPES[dtype])
    start = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        start = (start + 7919) % POOL_ITEMS
        numbers = np.resize(pool[start : start + count], count)
        if len(shape) == 1 and name.endswith(".weight"):
            numbers += 1  # norms scale by about one, or everything fades
        yield numbers


def _repack(source: Path, target: Path) -> None:
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
    asked = parser.parse_args()
    written = write(asked.family, asked.path, asked.dtype)
    sys.stdout.write(f"{written}: {written.stat().st_size / 1e9:.2f} GB\n")


if __name__ == "__main__":
    main()
