"""Measures merges of two full-size SD 1.5 files over copying one, and their peak memory; each merge in its own process.

A copy is read and written as a program does it, 8 MiB at a time, and flushed to the disk, as a merge is. Hashes are left
out: the program computes those of its checkpoints in the background.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tools import full_size

ROOT = full_size.ROOT
RECIPES = ("Weighted sum", "Add difference")
_CHUNK_BYTES = 8 << 20
_POLL_S = 0.02


def run(rounds: int) -> None:
    """Write two checkpoints, measure each side in turn and print the ratios."""
    with tempfile.TemporaryDirectory() as data:
        folder = Path(data) / "models" / "Stable-diffusion"
        for name in "ab":
            full_size.write("sd1", folder / f"{name}.safetensors")
        copies: list[tuple[float, float]] = []
        merges: dict[str, list[dict[str, float]]] = {recipe: [] for recipe in RECIPES}
        for _ in range(rounds):
            copies.append(_copy(folder / "a.safetensors"))
            for recipe in RECIPES:
                merges[recipe].append(_merge_in_process(Path(data), recipe))
        copy, copy_cpu = (statistics.median(times) for times in zip(*copies, strict=True))
        print(f"copying 2.13 GB: {copy:.1f} s ({copy_cpu:.1f} s of the processor)")
        for recipe, results in merges.items():
            seconds = statistics.median(result["seconds"] for result in results)
            cpu = statistics.median(result["cpu_seconds"] for result in results)
            memory = max(result["bytes"] for result in results) / 1e6
            print(
                f"{recipe}: {seconds:.1f} s ({cpu:.1f} s of the processor), ratio {seconds / copy:.2f};"
                f" memory {memory:.0f} MB over that of the idle program"
            )


def _copy(path: Path) -> tuple[float, float]:
    """Return the seconds of copying a file, and those of the processor."""
    target = path.with_suffix(".copy")
    start, cpu_start = time.perf_counter(), time.process_time()
    with path.open("rb") as source, target.open("wb") as out:
        while chunk := source.read(_CHUNK_BYTES):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    target.unlink()
    return seconds, cpu


def _merge_in_process(data: Path, recipe: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tools.merge_benchmark", str(data), recipe]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _merge(data: Path, recipe: str) -> dict[str, float]:
    """Merge the files and return what it took."""
    import psutil

    from modules.backend.merging.merge import merge_checkpoints
    from modules.core.paths import Paths
    from modules.models.index import ModelIndex
    from modules.params.events import CancelToken, Note
    from modules.params.requests.merge import MergeRequest
    from modules.params.settings import Settings
    from modules.plan.jobs.merge import resolve_merge

    request = MergeRequest(
        interp_method=recipe,
        primary_model_name="a",
        secondary_model_name="b",
        tertiary_model_name="a",
        add_merge_recipe=False,
    )
    plan = resolve_merge(request, Settings(), ModelIndex.from_paths(Paths(ROOT, data)))
    process, events, peak, is_done = psutil.Process(), list[Any](), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(_POLL_S):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start, cpu_start = time.perf_counter(), time.process_time()
    merge_checkpoints(None, plan, events.append, CancelToken())
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    is_done.set()
    watcher.join()
    notes = [event.text for event in events if isinstance(event, Note)]
    Path(notes[-1].removeprefix("Checkpoint saved to ")).unlink()
    return {"seconds": seconds, "cpu_seconds": cpu, "bytes": peak - before}


if __name__ == "__main__":
    print(json.dumps(_merge(Path(sys.argv[1]), sys.argv[2])))
