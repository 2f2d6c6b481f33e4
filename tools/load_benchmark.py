"""How long a full-size checkpoint takes to load, and how much memory; each measurement in a process of its own.

A model counts as loaded when every page of its weights has been touched: mapped files are not read before.

A virtual machine may hand its free memory back to the host, and to get it again costs seconds per gigabyte, whoever
asks: so as much as the weights take is touched and freed just before the clock starts. That has no say in the ratios'
honesty (each side gets it), but without it they tell of the host alone.
"""

from __future__ import annotations

import json
import math
import mmap
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import full_size

ROOT = full_size.ROOT
CONFIG = ROOT / "configs" / "v1-inference.yaml"
PAGE_BYTES = 4096
SWITCHES = 10
LISTED = 2000
DEMO = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
OTHERS = {
    "diffusers": "diffusers' from_single_file",
    "read": "plain read of the file",
    "write": "writing as much fresh memory",
}


def run(rounds: int) -> None:
    """Write two checkpoints, measure each side in turn, print the ratios; then those of listing many."""
    _report_listing()
    with tempfile.TemporaryDirectory() as folder:
        first = full_size.write("sd1", Path(folder) / "a.safetensors")
        full_size.write("sd1", Path(folder) / "b.safetensors")
        _measured("config", first)
        for dtype in ("float16", "float32"):
            sides = {side: [] for side in ("ours", *OTHERS)}
            for number in range(rounds):
                for side in sorted(sides, reverse=bool(number % 2)):
                    sides[side].append(_measured(side, first, dtype))
            _report(dtype, sides, _weight_bytes(first, dtype))
        grown = _measured("switch", first, "float32")
        print(
            f"{SWITCHES} switches A-B-A: memory {grown['before'] / 1e9:.2f} to {grown['after'] / 1e9:.2f} GB,"
            f" {100 * (grown['after'] / grown['before'] - 1):+.1f} %"
        )


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _report_listing() -> None:
    """List many checkpoints, for the first time and once their headers are remembered."""
    from modules.models.manager import ModelManager

    with DEMO.open("rb") as file:
        length = file.read(8)
        header = length + file.read(int.from_bytes(length, "little"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoints"
        folder.mkdir()
        for number in range(LISTED):
            with (folder / f"{number:04}.safetensors").open("wb") as file:
                file.write(header)
                file.truncate(DEMO.stat().st_size)  # nothing but the header takes room on the disk

        def listed() -> list[Any]:
            manager = ModelManager([folder], ROOT / "configs", Path(place) / "cache")
            manager.refresh()
            return manager.checkpoints()

        def bare() -> list[Any]:
            return [path.stat() for path in folder.rglob("*")]

        cold, warm, walked = (_seconds(work) for work in (listed, listed, bare))
        assert all(not found.fault for found in listed())
    print(
        f"{LISTED} checkpoints listed: {cold:.2f} s, {warm:.2f} s once known;"
        f" a bare walk over the files {walked:.2f} s (ratio {warm / walked:.1f})"
    )


def _report(dtype: str, sides: dict[str, list[dict[str, float]]], weights: float) -> None:
    ours = sides["ours"]
    print(
        f"load to {dtype}: {_median(ours, 'seconds'):.2f} s, {_median(ours, 'cpu'):.2f} s of a processor"
    )
    for side, label in OTHERS.items():
        rows = sides[side]
        ratios = [
            mine["seconds"] / other["seconds"] for mine, other in zip(ours, rows, strict=True)
        ]
        work = [mine["cpu"] / other["cpu"] for mine, other in zip(ours, rows, strict=True)]
        print(
            f"  {label}: {_median(rows, 'seconds'):.2f} s, {_median(rows, 'cpu'):.2f} s of a processor;"
            f" median ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}),"
            f" of the processor's time {statistics.median(work):.2f}"
        )
    peak, bare = (max(row["peak"] for row in sides[side]) for side in ("ours", "diffusers"))
    print(
        f"  peak memory over the start: {peak / 1e9:.2f} GB, {peak / weights:.2f} of the weights;"
        f" diffusers {bare / 1e9:.2f} GB, {bare / weights:.2f}"
    )


def _median(rows: list[dict[str, float]], field: str) -> float:
    return statistics.median(row[field] for row in rows)


def _weight_bytes(path: Path, dtype: str) -> int:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    items = sum(math.prod(e["shape"]) for k, e in header.items() if k != "__metadata__")
    return items * {"float16": 2, "float32": 4}[dtype]


def _measured(side: str, path: Path, dtype: str = "float32") -> dict[str, float]:
    command = [sys.executable, "-m", "tools.load_benchmark", side, str(path), dtype]
    done = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def _timed(work: Callable[[], Any], weights: int) -> dict[str, float]:
    with mmap.mmap(-1, weights) as ready:
        ready[::PAGE_BYTES] = bytes(-(-weights // PAGE_BYTES))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory("VmRSS:")
    began, cpu_began = time.perf_counter(), time.process_time()
    kept = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    del kept
    return {"seconds": seconds, "cpu": cpu, "peak": _memory("VmHWM:") - before}


def _touch(*modules: Any) -> tuple[Any, ...]:
    for module in modules:
        for weight in module.state_dict().values():
            step = PAGE_BYTES // weight.itemsize
            weight.as_strided((-(-weight.numel() // step),), (step,)).float().sum()
    return modules


def _ours(path: Path, dtype: Any) -> Callable[[], Any]:
    from modules.backend.components import Precision
    from modules.backend.loading.loader import load_components

    def work() -> Any:
        parts = load_components(path, CONFIG, Precision(dtype, dtype, dtype))
        return _touch(parts.unet, parts.vae, parts.text_encoder)

    return work


def _diffusers(path: Path, dtype: Any) -> Callable[[], Any]:
    from diffusers import StableDiffusionPipeline

    def work() -> Any:
        parts = StableDiffusionPipeline.from_single_file(
            str(path), config=str(path.parent / "config"), torch_dtype=dtype, local_files_only=True,
            safety_checker=None, feature_extractor=None,
        )  # fmt: skip
        return _touch(parts.unet, parts.vae, parts.text_encoder)

    return work


def _read(path: Path, _: Any) -> Callable[[], Any]:
    return path.read_bytes


def _write(path: Path, dtype: Any) -> Callable[[], Any]:
    import torch

    count = _weight_bytes(path, str(dtype).removeprefix("torch."))
    return lambda: torch.ones(count, dtype=torch.uint8)


def _write_config(path: Path) -> None:
    """Write the folder of .json files that diffusers needs in place of a hub."""
    import gzip

    from diffusers import DDIMScheduler
    from transformers import CLIPTokenizer

    from modules.backend.loading import empty_models
    from modules.models.files.header import read_header
    from modules.models.ldm.config import read_config
    from modules.prompt.tokens import ClipTokenizer

    folder = path.parent / "config"
    model = read_config(CONFIG, read_header(path), path.name)
    empty_models.make_empty_unet(model.unet, upcast_attention=False).save_config(folder / "unet")
    empty_models.make_empty_vae(model.vae).save_config(folder / "vae")
    empty_models.make_empty_text_encoder(model.text_encoder).config.save_pretrained(
        folder / "text_encoder"
    )
    DDIMScheduler().save_config(folder / "scheduler")
    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(bpe.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    vocabulary = ClipTokenizer(bpe)._bpe.get_vocab()
    CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(
        folder / "tokenizer"
    )
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def _switch(path: Path) -> dict[str, float]:
    """Load two checkpoints in turn in one process; the first round is the warm-up."""
    import torch

    from modules.backend.device import FP32
    from modules.backend.loading.cache import ModelCache
    from modules.models.manager import ModelManager
    from modules.models.model_spec import make_model_spec
    from modules.params.settings import Settings
    from modules.prompt.tokens import ClipTokenizer

    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    cache = ModelCache(torch.device("cpu"), ClipTokenizer(bpe))
    manager = ModelManager([path.parent], ROOT / "configs", path.parent / "cache")
    plans = [make_model_spec(manager, manager.find(name), Settings()) for name in ("a", "b")]
    sizes: list[int] = []
    for number in range(SWITCHES + 2):
        cache.acquire(plans[number % 2], FP32)
        sizes.append(_memory("VmRSS:"))
    return {"before": sizes[1], "after": sizes[-1]}


def main() -> None:
    """Measure one side in this process and print it as JSON."""
    side, path = sys.argv[1], Path(sys.argv[2])
    if side == "config":
        _write_config(path)
        print("{}")
        return
    if side == "switch":
        print(json.dumps(_switch(path)))
        return
    import torch

    sides = {"ours": _ours, "diffusers": _diffusers, "read": _read, "write": _write}
    work = sides[side](path, getattr(torch, sys.argv[3]))
    print(json.dumps(_timed(work, _weight_bytes(path, sys.argv[3]))))


if __name__ == "__main__":
    main()
