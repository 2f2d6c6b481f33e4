"""What LoRAs cost on full-size SD 1.5 shapes, over a plain read of their file; and how long 2,000 files take to list."""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools import full_size

ROOT = Path(__file__).resolve().parent.parent
RANK = 128
FILE_COUNT = 2000
_POOL_ITEMS = 1_000_003
_LAYERS = ("attn", "ff.", "proj_in", "proj_out", "self_attn", "mlp")


def run(rounds: int) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = full_size.write("sd1", Path(folder) / "model.safetensors")
        for dtype in ("float32", "bfloat16"):
            _measure_folding(path, dtype, rounds)
        _measure_listing(Path(folder))


def _seconds(work: Callable[[], Any]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def _measure_folding(checkpoint: Path, dtype: str, rounds: int) -> None:
    import torch

    from modules.backend.components import Precision
    from modules.backend.loading.loader import load_components
    from modules.backend.networks.lora_fold import FoldedLoras
    from modules.models.index import ModelIndex
    from modules.models.networks.network_kinds import LORA
    from modules.plan.networks.loras import LoraUse

    kind = getattr(torch, dtype)
    config = ROOT / "configs" / "v1-inference.yaml"
    components = load_components(checkpoint, config, Precision(kind, torch.float32, kind))
    folder = checkpoint.parent / "Lora"
    folder.mkdir(exist_ok=True)
    files = [_write_lora(folder / f"{name}.safetensors", components) for name in ("a", "b")]
    index = ModelIndex({LORA: [folder]}, ROOT / "configs", folder / "cache").networks
    first, second = (LoraUse(file.network_name, file) for file in index.files(LORA))
    read = statistics.median(_seconds(files[0].read_bytes) for _ in range(3))
    loras, size = FoldedLoras(components), files[0].stat().st_size
    sets = {
        "first use": [first],
        "change of weight": [replace(first, unet=0.6, text_encoder=0.6)],
        "a second one": [first, second],
        "removal": [],
    }
    times: dict[str, list[float]] = {name: [] for name in sets}
    steps: dict[str, list[float]] = {"without": [], "with": []}
    with torch.inference_mode():
        _step(components)
        before = _resident_bytes()
        peak = before
        for _ in range(rounds):
            steps["without"].append(_seconds(lambda: _step(components)))
            for name, uses in sets.items():
                times[name].append(_seconds(lambda uses=uses: loras.fold(uses)))
                peak = max(peak, _resident_bytes())
                if name == "first use":
                    steps["with"].append(_seconds(lambda: _step(components)))
    print(
        f"{dtype}: rank {RANK} on {len(_layers(components))} layers, {size / 1e6:.0f} MB, read in {read:.2f} s"
    )
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {name:18} {median:6.2f} s, {median - read:+.2f} s over the read")
    pairs = zip(steps["with"], steps["without"], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    print(f"  a step with it over one without: {ratio:.3f}")
    print(f"  memory: {peak / before:.3f} of the model's {before / 1e9:.2f} GB")


def _layers(components: Any) -> list[tuple[str, Any]]:
    """Return kohya's name and the weight of each layer of attention and feed-forward, in UNet and text encoder."""
    networks = (("lora_unet_", components.unet), ("lora_te_", components.text_encoders[0].network))
    found: list[tuple[str, Any]] = []
    for prefix, network in networks:
        for path, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if weight is not None and weight.dim() > 1 and any(part in path for part in _LAYERS):
                name = (
                    path
                    if prefix == "lora_unet_"
                    else "text_model." + path.removeprefix("text_model.")
                )
                found.append((prefix + name.replace(".", "_"), weight))
    return found


def _write_lora(path: Path, components: Any) -> Path:
    """Write a LoRA of random weights on all layers, in 16 bits."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, weight in _layers(components):
        rows, columns, *kernel = weight.shape
        shapes[f"{name}.lora_down.weight"] = (RANK, columns, *kernel)
        shapes[f"{name}.lora_up.weight"] = (rows, RANK, *[1] * len(kernel))
        shapes[f"{name}.alpha"] = ()
    header: dict[str, Any] = {"__metadata__": {"ss_base_model_version": "sd_v1"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    pool = np.random.default_rng(0).normal(0, 1e-3, _POOL_ITEMS).astype(np.float16).tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in _parts(pool, end):
            file.write(part)
    return path


def _parts(pool: bytes, size: int) -> Iterator[bytes]:
    while size > 0:
        yield pool[:size]
        size -= len(pool)


def _step(components: Any) -> None:
    """Evaluate the UNet for one step of 256x256 pixels with guidance."""
    import torch

    dtype = components.unet.dtype
    x, cond = torch.ones(2, 4, 32, 32, dtype=dtype), torch.ones(2, 77, 768, dtype=dtype)
    components.unet(x, torch.tensor(500), cond)


def _resident_bytes() -> int:
    with Path("/proc/self/status").open(encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _measure_listing(folder: Path) -> None:
    """Print how long the first list of many files takes, and one with the facts cached on disk."""
    from modules.models.index import ModelIndex
    from modules.models.networks.network_kinds import LORA

    source = (folder / "Lora" / "a.safetensors").read_bytes()[:1_000_000]
    length = int.from_bytes(source[:8], "little")
    header = json.loads(source[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    header = {name: {**header[name], "data_offsets": [0, 0], "shape": [0]} for name in names}
    text = json.dumps({"__metadata__": {"ss_tag_frequency": "x" * 50_000}, **header}).encode()
    many = folder / "many"
    for number in range(FILE_COUNT):
        path = many / str(number % 20) / f"{number}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(len(text).to_bytes(8, "little") + text)

    def list_files() -> None:
        index = ModelIndex({LORA: [many]}, ROOT / "configs", folder / "cache").networks
        assert len(index.files(LORA)) == FILE_COUNT

    def read() -> None:
        for path in many.rglob("*.safetensors"):
            path.read_bytes()

    plain, first, again = _seconds(read), _seconds(list_files), _seconds(list_files)
    print(
        f"{FILE_COUNT} files with headers of {len(text) / 1000:.0f} KB: first list {first:.2f} s"
        f" (a plain read of them {plain:.2f} s), later {again:.2f} s"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    run(3)
