"""Measures load time and peak memory of a full-size checkpoint, each measurement in a separate process.

A model counts as loaded when every page of its weights has been touched: mapped files are not read before.

A virtual machine may return its free memory to the host, and getting it back costs seconds per gigabyte, whichever
program asks: so as much memory as the weights need is touched and freed just before the clock starts. The ratios stay
fair (each side gets it), but without it they would measure only the host.
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
CONFIGS = {
    "sd1": ROOT / "configs" / "v1-inference.yaml",
    "sdxl": ROOT / "configs" / "sd_xl_base.yaml",
}
# SDXL in 32-bit floats takes 14 GB; on a CPU it is computed in bfloat16.
DTYPES = {"sd1": ("float16", "float32"), "sdxl": ("bfloat16",)}
PAGE_BYTES = 4096
SWITCH_COUNT = 10  # five times there and back
CHECKPOINT_COUNT = 2000
DEMO = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
BASELINES = {
    "diffusers": "diffusers' from_single_file",
    "read": "plain read of the file",
    "write": "writing as much fresh memory",
}


def run(rounds: int, family: str = "sd1") -> None:
    """Measure listing many checkpoints; then write two, measure each side in turn and print the ratios.

    Args:
        rounds: How often each side is measured.
        family: Of the first checkpoint, "sd1" or "sdxl"; the second one, of SD 1.5, is switched with it.
    """
    _report_listing()
    with tempfile.TemporaryDirectory() as folder:
        first = full_size.write(family, Path(folder) / "a.safetensors")
        full_size.write("sd1", Path(folder) / "b.safetensors")
        _measure_in_process("config", first)
        for dtype in DTYPES[family]:
            _measure_in_process("keep", first, dtype)
            results = {side: [] for side in ("ours", "cached", *BASELINES)}
            for number in range(rounds):
                for side in sorted(results, reverse=bool(number % 2)):
                    results[side].append(_measure_in_process(side, first, dtype))
            _report(dtype, results, _weight_bytes(first, dtype))
        memory = _measure_in_process("switch", first, DTYPES[family][-1])
        print(
            f"{SWITCH_COUNT} switches A-B-A: memory {memory['before'] / 1e9:.2f} to {memory['after'] / 1e9:.2f} GB,"
            f" {100 * (memory['after'] / memory['before'] - 1):+.1f} %"
        )


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _report_listing() -> None:
    """List many checkpoints, first without and then with cached headers."""
    from modules.models.index import ModelIndex

    with DEMO.open("rb") as file:
        length = file.read(8)
        header = length + file.read(int.from_bytes(length, "little"))
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp) / "checkpoints"
        folder.mkdir()
        for number in range(CHECKPOINT_COUNT):
            with (folder / f"{number:04}.safetensors").open("wb") as file:
                file.write(header)
                file.truncate(
                    DEMO.stat().st_size
                )  # a sparse file: only the header takes disk space

        def list_checkpoints() -> list[Any]:
            manager = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", Path(temp) / "cache")
            manager.refresh()
            return manager.checkpoints()

        def walk() -> list[Any]:
            return [path.stat() for path in folder.rglob("*")]

        cold, warm, walk_s = (_seconds(work) for work in (list_checkpoints, list_checkpoints, walk))
        assert all(not checkpoint.error for checkpoint in list_checkpoints())
    print(
        f"{CHECKPOINT_COUNT} checkpoints listed: {cold:.2f} s, {warm:.2f} s with cached headers;"
        f" walking the files alone {walk_s:.2f} s (ratio {warm / walk_s:.1f})"
    )


def _report(dtype: str, results: dict[str, list[dict[str, float]]], weights: float) -> None:
    ours = results["ours"]
    print(
        f"load to {dtype}: {_median(ours, 'seconds'):.2f} s, {_median(ours, 'cpu'):.2f} s of CPU time"
    )
    for side, label in BASELINES.items():
        rows = results[side]
        ratios = [own["seconds"] / other["seconds"] for own, other in zip(ours, rows, strict=True)]
        cpu_ratios = [own["cpu"] / other["cpu"] for own, other in zip(ours, rows, strict=True)]
        print(
            f"  {label}: {_median(rows, 'seconds'):.2f} s, {_median(rows, 'cpu'):.2f} s of CPU time;"
            f" median ratio {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}),"
            f" of CPU time {statistics.median(cpu_ratios):.2f}"
        )
    if all("mapped" in row for row in results["cached"]):
        rows = results["cached"]
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(rows, results["read"], strict=True)]
        print(
            f"  from the cache of converted weights: {_median(rows, 'seconds'):.2f} s, {_median(rows, 'cpu'):.2f} s of CPU"
            f" time; {statistics.median(ratios):.2f} of a plain read of the checkpoint"
        )
    peak, diffusers_peak = (
        max(row["peak"] for row in results[side]) for side in ("ours", "diffusers")
    )
    print(
        f"  peak memory above the start: {peak / 1e9:.2f} GB, {peak / weights:.2f} of the weights;"
        f" diffusers {diffusers_peak / 1e9:.2f} GB, {diffusers_peak / weights:.2f}"
    )


def _median(rows: list[dict[str, float]], field: str) -> float:
    return statistics.median(row[field] for row in rows)


def _weight_bytes(path: Path, dtype: str) -> int:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    items = sum(math.prod(e["shape"]) for k, e in header.items() if k != "__metadata__")
    return items * {"float16": 2, "bfloat16": 2, "float32": 4}[dtype]


def _measure_in_process(side: str, path: Path, dtype: str = "float32") -> dict[str, float]:
    command = [sys.executable, "-m", "tools.load_benchmark", side, str(path), dtype]
    process = subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return json.loads(process.stdout.splitlines()[-1])


def _memory_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def _measure(work: Callable[[], Any], weights: int) -> dict[str, float]:
    with mmap.mmap(-1, weights) as reserved:
        reserved[::PAGE_BYTES] = bytes(-(-weights // PAGE_BYTES))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory_bytes("VmRSS:")
    start, cpu_start = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    del result
    return {"seconds": seconds, "cpu": cpu, "peak": _memory_bytes("VmHWM:") - before}


def _touch(*modules: Any) -> tuple[Any, ...]:
    for module in modules:
        for weight in module.state_dict().values():
            step = PAGE_BYTES // weight.itemsize
            weight.as_strided((-(-weight.numel() // step),), (step,)).float().sum()
    return modules


def _cache_of(path: Path) -> Any:
    from modules.backend.loading.weight_cache import WeightCache

    return WeightCache(path.parent / "weights", 1 << 40)


def _keep(path: Path, dtype: Any) -> None:
    """Load a checkpoint, and keep what was converted."""
    from modules.backend.components import Precision
    from modules.backend.loading.loader import LoadOptions, load_components

    cache = _cache_of(path)
    precision = Precision(dtype, dtype, dtype)
    load_components(path, _config_of(path), precision, LoadOptions(cache=cache))
    cache.wait()


def _cached(path: Path, dtype: Any) -> Callable[[], Any]:
    return _ours(path, dtype, _cache_of(path))


def _ours(path: Path, dtype: Any, cache: Any = None) -> Callable[[], Any]:
    from modules.backend.components import Precision
    from modules.backend.loading.loader import LoadOptions, load_components

    def work() -> Any:
        precision, options = Precision(dtype, dtype, dtype), LoadOptions(cache=cache)
        components = load_components(path, _config_of(path), precision, options)
        text_encoders = (encoder.network for encoder in components.text_encoders)
        return _touch(components.unet, components.vae, *text_encoders)

    return work


def _config_of(path: Path) -> Path:
    from modules.models.files.header import read_header
    from modules.models.ldm.keys import UNET_LABEL_KEY

    return CONFIGS["sdxl" if UNET_LABEL_KEY in read_header(path).tensors else "sd1"]


def stock_pipeline(path: Path, dtype: Any) -> Any:
    """Return the pipeline of diffusers, loaded by itself from a checkpoint with a `config` folder next to it.

    Args:
        path: The checkpoint.
        dtype: torch's, of all networks.
    """
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    is_sdxl = _config_of(path) == CONFIGS["sdxl"]
    options = {"add_watermarker": False} if is_sdxl else {"safety_checker": None}
    return (StableDiffusionXLPipeline if is_sdxl else StableDiffusionPipeline).from_single_file(
        str(path), config=str(path.parent / "config"), torch_dtype=dtype, local_files_only=True,
        feature_extractor=None, **options,
    )  # fmt: skip


def _diffusers(path: Path, dtype: Any) -> Callable[[], Any]:
    # The import takes seconds, and is no part of loading; ours are made before `work`, too.
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    del StableDiffusionPipeline, StableDiffusionXLPipeline

    def work() -> Any:
        pipeline = stock_pipeline(path, dtype)
        second = getattr(pipeline, "text_encoder_2", None)
        text_encoders = (pipeline.text_encoder, *([second] if second else []))
        return _touch(pipeline.unet, pipeline.vae, *text_encoders)

    return work


def _read(path: Path, _: Any) -> Callable[[], Any]:
    return path.read_bytes


def _write(path: Path, dtype: Any) -> Callable[[], Any]:
    import torch

    count = _weight_bytes(path, str(dtype).removeprefix("torch."))
    return lambda: torch.ones(count, dtype=torch.uint8)


def _write_config(path: Path) -> None:
    """Write the folder of .json files that diffusers would otherwise download."""
    import gzip

    from diffusers import DDIMScheduler
    from transformers import CLIPTokenizer

    from modules.backend.loading import empty_models
    from modules.backend.loading.loader import validate_checkpoint
    from modules.prompt.tokens import ClipTokenizer

    folder, config = path.parent / "config", _config_of(path)
    model = validate_checkpoint(path, config).config
    empty_models.make_empty_unet(model.unet, upcast_attention=False).save_config(folder / "unet")
    empty_models.make_empty_vae(model.vae).save_config(folder / "vae")
    suffixes = ("", "_2")[: len(model.text_encoders)]
    for text, suffix in zip(model.text_encoders, suffixes, strict=True):
        empty_models.make_empty_text_encoder(text).config.save_pretrained(
            folder / f"text_encoder{suffix}"
        )
    DDIMScheduler().save_config(folder / "scheduler")
    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(bpe.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    vocabulary = ClipTokenizer(bpe)._bpe.get_vocab()
    for suffix in suffixes:
        CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(
            folder / f"tokenizer{suffix}"
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
    if len(suffixes) > 1:
        del index["safety_checker"]
        index |= {
            "_class_name": "StableDiffusionXLPipeline",
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
        }
    (folder / "model_index.json").write_text(json.dumps(index))


def _switch(path: Path, dtype: str) -> dict[str, float]:
    """Load two checkpoints in turn in one process; the first round is the warm-up."""
    import torch

    from modules.backend.components import Precision
    from modules.backend.model_cache import ModelCache
    from modules.models.index import ModelIndex
    from modules.models.model_spec import make_model_spec
    from modules.params.settings import Settings
    from modules.prompt.tokens import ClipTokenizer

    bpe = ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    cache = ModelCache(torch.device("cpu"), ClipTokenizer(bpe))
    kind = getattr(torch, dtype)
    precision = Precision(kind, torch.float32, kind)
    manager = ModelIndex({"Checkpoint": [path.parent]}, ROOT / "configs", path.parent / "cache")
    specs = [
        make_model_spec(manager, manager.find_checkpoint(name), Settings()) for name in ("a", "b")
    ]
    memory: list[int] = []
    for number in range(SWITCH_COUNT + 2):
        cache.acquire(specs[number % 2], precision)
        memory.append(_memory_bytes("VmRSS:"))
    return {"before": memory[1], "after": memory[-1]}


def main() -> None:
    """Measure one side in this process and print it as JSON."""
    side, path = sys.argv[1], Path(sys.argv[2])
    if side == "config":
        _write_config(path)
        print("{}")
        return
    if side == "switch":
        print(json.dumps(_switch(path, sys.argv[3])))
        return
    import torch

    dtype = getattr(torch, sys.argv[3])
    if side == "keep":
        _keep(path, dtype)
        print("{}")
        return
    sides = {
        "ours": _ours,
        "cached": _cached,
        "diffusers": _diffusers,
        "read": _read,
        "write": _write,
    }
    measured = _measure(sides[side](path, dtype), _weight_bytes(path, sys.argv[3]))
    if side == "cached" and (path.parent / "weights").exists():
        measured["mapped"] = 1.0
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
