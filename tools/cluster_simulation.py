"""Simulates many workers without a model: how fast the queue hands out jobs, and whether sources take turns.

The queue, its store, the plans and the pool are the program's own; a worker sleeps instead of computing.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from modules.engine.executors.worker_link import Memory, WorkerFacts
from modules.params.events import CancelToken, Phase, Progress, Sink
from modules.plan.plan import Plan
from modules.plan.work import Work

if TYPE_CHECKING:
    from modules.engine.engine import Engine
    from modules.engine.jobs.job import Job

R = TypeVar("R")
WORKERS, JOBS = 64, 10_000
SOURCES = ("page", "api", "script", "bot")
SECONDS_PER_JOB = 0.1
LEAST_PER_SECOND = 200


class SleepingLink:
    """A worker of the pool that sleeps.

    Args:
        name: Its name.
        prompts: Receives the prompt of each job, which names its source here.
    """

    machine = "here"

    def __init__(self, name: str, prompts: list[str]) -> None:
        self.name = name
        self._prompts = prompts

    def start(self) -> WorkerFacts:
        """Say that it is there."""
        return WorkerFacts("sleeping worker", self.machine)

    def run(
        self, work: Work[Any], sink: Sink, cancel: CancelToken, on_memory: Callable[[Memory], None]
    ) -> None:
        """Sleep over a plan."""
        del cancel, on_memory
        if isinstance(work, Plan):
            self._prompts.append(work.request.prompt)
            sink(Phase("Sleeping"))
            time.sleep(SECONDS_PER_JOB)
            sink(Progress(1, 1))

    def check(self) -> Memory:
        """Return a memory."""
        return Memory(0, 1)

    def stop(self) -> None:
        """Do nothing: there is no process."""


def run(count: int = JOBS, workers: int = WORKERS) -> None:
    """Print how many jobs a second are queued and handed out, how even the turns are, and the memory.

    Args:
        count: How many jobs are queued before the first one starts.
        workers: How many sleep at a time.
    """
    from modules.app import make_engine, make_paths
    from modules.core.command_line import parse_flags
    from modules.engine.engine import Engine
    from modules.engine.executors.pool import WorkerPool

    prompts: list[str] = []
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as data:
        flags = parse_flags(["--data-dir", data, "--nowebui"])
        paths = make_paths(flags)
        local = make_engine(flags, paths)
        pool = WorkerPool([SleepingLink(f"worker {n}", prompts) for n in range(workers)])
        engine = Engine(paths, pool, local.tokenizer, local.registries)
        engine.start()
        engine.queue.pause()
        before = process.memory_info().rss
        jobs, queued_s = _timed(lambda: _submit(engine, count))
        per_job = (process.memory_info().rss - before) / count
        _, listed_s = _timed(lambda: engine.queue.store.active_jobs(100))
        processor = process.cpu_times().user
        _, handed_s = _timed(lambda: _run_all(engine, jobs))
        processor = process.cpu_times().user - processor
        engine.stop()
    failed = sum(job.status().state != "done" for job in jobs)
    if failed:
        raise SystemExit(f"{failed} jobs did not end as they should.")
    most = workers / SECONDS_PER_JOB
    print(
        f"queued: {count / queued_s:.0f} jobs a second, each {per_job / 1024:.0f} KiB in memory; the first 100 are"
        f" listed in {listed_s * 1000:.0f} ms"
    )
    print(
        f"handed out to {workers} workers: {count / handed_s:.0f} jobs a second (at least {LEAST_PER_SECOND}),"
        f" of {most:.0f} that they could take; {processor / count * 1000:.1f} ms of the processor each"
    )
    print(
        f"turns of {len(SOURCES)} sources: none was ever ahead of another by more than {most_ahead(prompts)} jobs;"
        f" memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )


def most_ahead(sources: list[str]) -> int:
    """Return by how many jobs any source was ever ahead of another one; all have equally many.

    Args:
        sources: The source of each job, in the order in which they began.
    """
    counts: Counter[str] = Counter(dict.fromkeys(SOURCES, 0))
    most = 0
    for source in sources:
        counts[source] += 1
        most = max(most, max(counts.values()) - min(counts.values()))
    return most


def _submit(engine: Engine, count: int) -> list[Job]:
    """Queue all jobs of one source before those of the next one, so that their turns are the queue's doing."""
    from modules.params.requests.txt2img import Txt2ImgRequest

    request = Txt2ImgRequest(width=64, height=64, steps=1, seed=1)
    return [
        engine.submit(request.replace(prompt=source), source)
        for source in SOURCES
        for _ in range(count // len(SOURCES))
    ]


def _run_all(engine: Engine, jobs: list[Job]) -> None:
    engine.queue.resume()
    for job in jobs:
        job.wait()


def _timed(run: Callable[[], R]) -> tuple[R, float]:
    """Return what a call returns, and its seconds."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    run()
