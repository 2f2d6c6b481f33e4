"""PoolWorker: the state of a worker in the pool, and the choice of what it does next."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modules.engine.executors import WorkerStatus
from modules.engine.executors.pool_job import Piece, PoolJob
from modules.engine.executors.work_facts import checkpoint_after
from modules.engine.executors.worker_link import Memory, WorkerLink
from modules.plan.plan import Plan
from modules.plan.work import LoadModel, UnloadModels

_NOT_YET = 3  # the rank of a job that a worker leaves to others for now


@dataclass(frozen=True)
class PoolTimes:
    """Seconds that a pool waits.

    Args:
        steal_after_s: How long work waits for a worker that holds its checkpoint.
        restart_after_s: How long after its end a worker is started again; twice as long after each start that fails.
    """

    steal_after_s: float = 5.0
    restart_after_s: float = 1.0


class PoolWorker:
    """One worker; read and written under the pool's lock, but for its link.

    Args:
        link: The connection to it.
        lock: The pool's lock.
    """

    def __init__(self, link: WorkerLink, lock: threading.RLock) -> None:
        self.link = link
        self.wake = threading.Condition(lock)
        self.status = WorkerStatus(link.name, link.machine)
        self.is_on_server = True
        self.checkpoints: list[Path] = []  # that it holds, the latest last
        self.orders: deque[PoolJob] = deque()  # work for this worker alone
        self.piece: Piece | None = None  # handed out, and not yet begun
        self.failed_starts = 0
        self.is_retired = False  # its machine is gone: it is not started again
        self.thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Return whether it can work."""
        return self.status.state in ("idle", "busy")

    def note_work(self, piece: Piece) -> None:
        """Note that it begins a piece, and which checkpoints it holds with it."""
        job, work, status = piece.job, piece.job.work, self.status
        checkpoint = checkpoint_after(work, status.checkpoint)
        self.status = replace(status, state="busy", job_id=job.job_id, checkpoint=checkpoint)
        if isinstance(work, UnloadModels):
            self.checkpoints.clear()
        if job.checkpoint is None:
            return
        limit = 1
        if isinstance(work, LoadModel):
            limit = work.checkpoints_limit
        elif isinstance(work, Plan):
            limit = work.settings.sd_checkpoints_limit
        others = [path for path in self.checkpoints if path != job.checkpoint]
        self.checkpoints = [*others, job.checkpoint][-limit:]

    def note_memory(self, memory: Memory) -> None:
        """Note the memory of its device."""
        with self.wake:  # another thread may be handing it something out
            self.status = replace(self.status, memory_used=memory.used, memory_total=memory.total)

    def note_activity(self, text: str) -> None:
        """Note the phase of its work."""
        with self.wake:
            self.status = replace(self.status, activity=text)


def needs_missing_server(job: PoolJob, workers: Sequence[PoolWorker]) -> bool:
    """Return whether a job needs a worker on the server's machine, and all that there are run elsewhere."""
    return job.is_on_server and bool(workers) and not any(one.is_on_server for one in workers)


def choose_piece(
    worker: PoolWorker, workers: Sequence[PoolWorker], jobs: Sequence[PoolJob], steal_after_s: float
) -> Piece | None:
    """Return what a worker does next: what waits too long, then what it holds the checkpoint of, then what nobody holds.

    Args:
        worker: The worker.
        workers: All of them.
        jobs: All jobs, the oldest first; of equal ones that with the fewest workers comes first.
        steal_after_s: How long a job is left to the workers that hold its checkpoint.
    """
    if worker.orders:
        return worker.orders.popleft().take(takes_all=True)
    best, best_rank = None, (_NOT_YET, 0)
    for job in jobs:
        if job.has_waiting and (worker.is_on_server or not job.is_on_server):
            rank = _rank(worker, workers, job, steal_after_s), len(job.pieces)
            if rank < best_rank:
                best, best_rank = job, rank
    return None if best is None else best.take(takes_all=len(workers) == 1)


def _rank(
    worker: PoolWorker, workers: Sequence[PoolWorker], job: PoolJob, steal_after_s: float
) -> int:
    """Return how urgent a job is for a worker, the most urgent first."""
    is_late = time.monotonic() - job.submitted_at >= steal_after_s
    if is_late and not job.pieces:
        return 0
    if job.checkpoint is None or job.checkpoint in worker.checkpoints:
        return 1
    is_held = any(job.checkpoint in one.checkpoints for one in workers if one.is_alive)
    return 2 if is_late or not is_held else _NOT_YET
