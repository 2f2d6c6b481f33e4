"""Benchmarks several workers: two of one thread each over one, what Ray costs a picture, the start and memory of a worker.

After it the simulation of 64 workers, which needs no model and no Ray.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modules.params.device_options import DeviceOptions
from modules.plan.plan import Plan
from modules.plan.work import LoadModel
from tools import cluster_simulation

if TYPE_CHECKING:
    from modules.engine.executors import DeviceInfo, Executor
    from modules.prompt.tokens import ClipTokenizer

ROOT = Path(__file__).resolve().parent.parent
PICTURES, SIDE, STEPS = 16, 256, 20
LEAST_RATIO, MOST_OVERHEAD_MS = 1.8, 60
ONE_THREAD = DeviceOptions(use_cpu=True, threads=1)


def run(rounds: int) -> None:
    """Print all figures.

    Args:
        rounds: How often 16 pictures are made by each side; the order turns.
    """
    from modules.engine.executors.cluster.ray_executor import RayExecutor, RayOptions
    from modules.engine.executors.local import LocalExecutor

    with tempfile.TemporaryDirectory() as data:
        plans, tokenizer = _make_plans(Path(data))
        options = RayOptions(("cpu", "cpu"), cpus_per_worker=1)
        workers = RayExecutor(options, ONE_THREAD, ROOT, Path(data) / "cache")
        local = LocalExecutor(ONE_THREAD, tokenizer, Path(data) / "cache")
        try:
            _start(workers, 2)
            _start(local, 1)
            _load(workers, plans[0])
            local.submit(LoadModel(plans[0].model)).result()
            _compare(local, workers, plans, rounds)
        finally:
            workers.stop(10)
            local.stop(10)
    cluster_simulation.run()


def _make_plans(data: Path) -> tuple[list[Plan], ClipTokenizer]:
    """Return a plan for each picture, of other seeds."""
    from modules.app import make_engine, make_paths
    from modules.core.command_line import parse_flags
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.plan.planner import make_plan

    flags = parse_flags(["--data-dir", str(data), "--nowebui"])
    engine = make_engine(flags, make_paths(flags))
    checkpoint = engine.models.find_checkpoint("demo/demo.safetensors")
    request = Txt2ImgRequest(
        prompt="a red circle", width=SIDE, height=SIDE, steps=STEPS, sampler_name="Euler"
    )
    plans = [
        make_plan(request.replace(seed=seed), engine.models, checkpoint, engine.settings)
        for seed in range(PICTURES)
    ]
    return plans, engine.tokenizer


def _start(executor: Executor, count: int) -> None:
    """Start an executor and wait until so many workers are ready; print how long the first and the last one took."""
    failures: list[str] = []
    started_at, ready = time.perf_counter(), threading.Event()

    def on_ready(info: DeviceInfo | None, failure: str) -> None:
        if info is None:
            failures.append(failure)
        ready.set()

    executor.start(on_ready)
    ready.wait()
    first_s = time.perf_counter() - started_at
    while sum(worker.state == "idle" for worker in executor.workers()) < count:
        failures += [one.reason for one in executor.workers() if one.state == "refused"]
        if failures:
            raise SystemExit(failures[0])
        time.sleep(0.05)
    if count > 1:
        last_s = time.perf_counter() - started_at
        print(f"start: the first worker after {first_s:.1f} s, {count} after {last_s:.1f} s")


def _load(workers: Executor, plan: Plan) -> None:
    """Load the checkpoint in every worker and print the memory of each, next to that of the model."""
    workers.submit(LoadModel(plan.model)).result()
    _all_at_once(workers, [plan] * 4)
    used = [worker.memory_used for worker in workers.workers() if worker.memory_used is not None]
    model = plan.checkpoint.path.stat().st_size
    print(
        f"memory of a worker: {max(used) / 2**20:.0f} MiB with a model whose file has {model / 2**20:.0f} MiB"
    )


def _compare(local: Executor, workers: Executor, plans: Sequence[Plan], rounds: int) -> None:
    sides: dict[str, Callable[[], None]] = {
        "local": lambda: _one_by_one(local, plans),
        "one": lambda: _one_by_one(workers, plans),
        "two": lambda: _all_at_once(workers, plans),
    }
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names[number % 3 :] + names[: number % 3]:
            start = time.perf_counter()
            sides[name]()
            times[name].append(time.perf_counter() - start)
    ratios = [one / two for one, two in zip(times["one"], times["two"], strict=True)]
    costs = [
        (one - alone) / len(plans) * 1000
        for one, alone in zip(times["one"], times["local"], strict=True)
    ]
    print(
        f"{len(plans)} pictures: {_median(times['local']):.2f} s in this process, {_median(times['one']):.2f} s by one"
        f" worker, {_median(times['two']):.2f} s by two"
    )
    print(
        f"two workers over one: {_median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}; at least"
        f" {LEAST_RATIO}); overhead of a worker: {_median(costs):.0f} ms a picture (at most {MOST_OVERHEAD_MS})"
    )


def _one_by_one(executor: Executor, plans: Sequence[Plan]) -> None:
    for plan in plans:
        executor.submit(plan).result()


def _all_at_once(executor: Executor, plans: Sequence[Plan]) -> None:
    for future in [executor.submit(plan) for plan in plans]:
        future.result()


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
