"""WorkerPool: an executor of several workers. Knows nothing of how they are reached."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from modules.core.errors import WebUIError, internal_error
from modules.engine.executors import DeviceInfo, WorkerState, WorkerStatus
from modules.engine.executors.broadcast import Broadcast, is_for_all
from modules.engine.executors.pool_job import Piece, PoolJob, lost_events
from modules.engine.executors.pool_worker import (
    PoolTimes,
    PoolWorker,
    choose_piece,
    needs_missing_server,
)
from modules.engine.executors.work_facts import following
from modules.engine.executors.worker_link import WorkerFacts, WorkerLink, WorkerLost
from modules.params.events import CancelToken, Event, Sink, ignore_events
from modules.plan.work import LoadModel, UnloadModels, Work

R = TypeVar("R")
logger = logging.getLogger(__name__)

# How often an idle worker looks whether a job was interrupted, or waits long enough for one that has to load first.
_LOOK_S = 0.5
_MAX_DOUBLINGS = 16  # of the pause: no float holds that of a cluster that was away for a day
_MAX_PAUSE_S = 30.0
# How often an idle worker is checked, and its memory is read.
_CHECK_S = 5.0
_NEEDS_SERVER = (
    "This needs a worker on the server's machine, and there is none; start with --devices."
)


class WorkerPool:
    """Spreads work, and the batches of a job, over workers; a lost one is started again.

    Args:
        links: The connections to the workers.
        times: How long it waits for what.
    """

    def __init__(self, links: Sequence[WorkerLink], times: PoolTimes | None = None) -> None:
        self._times = times or PoolTimes()
        self._lock = threading.RLock()
        self._workers = [PoolWorker(link, self._lock) for link in links]
        self._jobs: list[PoolJob] = []  # oldest first
        self._last_load: LoadModel | None = None
        self._on_ready: Callable[[DeviceInfo | None, str], None] = _ignore_ready
        self._reported = ""  # what the engine was notified of: "", "failed" or "ready"
        self._failure = ""  # why no worker can be used
        self._is_stopping = False

    # Executor

    @property
    def slots(self) -> int:
        """Return the number of workers that can be used."""
        with self._lock:
            return max(1, sum(one.status.state != "refused" for one in self._workers))

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Start the workers in the background; `on_ready` is called when the first one is ready, or all have failed."""
        self._on_ready = on_ready
        for worker in self._workers:
            self._start_thread(worker)

    def add(self, *links: WorkerLink) -> None:
        """Start further workers."""
        added = [PoolWorker(link, self._lock) for link in links]
        with self._lock:
            self._workers.extend(added)
        for worker in added:
            self._start_thread(worker)

    def retire(self, names: Collection[str]) -> None:
        """Start these workers no more once they are lost, and then forget them: their machines are gone."""
        with self._lock:
            for worker in self._workers:
                if worker.link.name in names:
                    worker.is_retired = True
                    worker.wake.notify_all()

    def submit(
        self,
        work: Work[R],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[R]:
        """Queue some work."""
        job = PoolJob(work, sink, cancel, job_id)
        with self._lock:
            failure = self._failure
            if needs_missing_server(job, self._workers):
                failure = _NEEDS_SERVER
            if failure:
                job.fail(WebUIError(failure))
            elif is_for_all(work):
                if isinstance(work, LoadModel):
                    self._last_load = work
                elif isinstance(work, UnloadModels):
                    self._last_load = None
                alive = [one for one in self._workers if one.is_alive]
                if alive:
                    return self._order(work, alive)
                self._jobs.append(job)
            else:
                self._jobs.append(job)
                self._match()
        if failure:
            job.finish()
        return job.future

    def memory(self) -> dict[str, Any]:
        """Return the memory of the first worker whose memory is known."""
        for status in self.workers():
            if status.memory_used is not None and status.memory_total is not None:
                used, total = status.memory_used, status.memory_total
                return {"system": {"free": total - used, "used": used, "total": total}}
        return {"error": "The memory of no worker is known yet."}

    def workers(self) -> Sequence[WorkerStatus]:
        """Return what each worker is doing."""
        with self._lock:
            return [worker.status for worker in self._workers]

    def stop(self, timeout_s: float) -> bool:
        """End the workers and return whether their running work ended in time."""
        with self._lock:
            self._is_stopping = True
            for worker in self._workers:
                worker.wake.notify_all()
        deadline = time.monotonic() + timeout_s
        threads = [worker.thread for worker in self._workers if worker.thread is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # The thread of a worker

    def _start_thread(self, worker: PoolWorker) -> None:
        # A daemon: a step that takes minutes must not delay the exit of the program.
        name = f"worker {worker.link.name}"
        worker.thread = threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True)
        worker.thread.start()

    def _serve(self, worker: PoolWorker) -> None:
        try:
            while not self._is_stopping and not worker.is_retired:
                self._live(worker)
        except WebUIError as error:
            self._refuse(worker, error)
        except Exception as error:  # the others go on
            logger.exception("The worker %s failed with an unexpected error.", worker.link.name)
            self._refuse(worker, internal_error(error))
        finally:
            worker.link.stop()
            if worker.is_retired:
                with self._lock:
                    self._workers.remove(worker)
                self._fail_hopeless_jobs()

    def _live(self, worker: PoolWorker) -> None:
        """Start a worker and give it work until it is lost or the pool stops."""
        try:
            self._open(worker)
            worker.failed_starts = 0
            self._work(worker)
        except WorkerLost as error:
            self._lose(worker, str(error))
            pause_s = self._times.restart_after_s * 2**worker.failed_starts
            self._wait(worker, min(_MAX_PAUSE_S, pause_s))
            worker.failed_starts = min(worker.failed_starts + 1, _MAX_DOUBLINGS)

    def _open(self, worker: PoolWorker) -> None:
        with self._lock:
            worker.status = replace(worker.status, state="starting")
        facts = worker.link.start()
        with self._lock:
            worker.status = WorkerStatus(
                worker.link.name, facts.machine, facts.device, "idle", reason=""
            )
            worker.is_on_server = facts.is_on_server
            worker.checkpoints.clear()
            if self._last_load is not None:
                worker.orders.append(PoolJob(self._last_load, ignore_events, None))
            count = len(self._workers)
            is_first = self._reported != "ready"
            self._reported, self._failure = "ready", ""
            problems = [one.status.reason for one in self._workers if one.status.reason]
        self._fail_hopeless_jobs()
        logger.info(
            "The worker %s on %s is ready: %s.", worker.link.name, facts.machine, facts.device
        )
        if is_first:
            self._report(
                DeviceInfo(_label(facts, count), " ".join([facts.warning, *problems]).strip()), ""
            )

    def _work(self, worker: PoolWorker) -> None:
        while (piece := self._next_piece(worker)) is not None:
            self._run(worker, piece)

    def _next_piece(self, worker: PoolWorker) -> Piece | None:
        """Return what a worker is to do next; None when the pool stops."""
        checked_at = float("-inf")
        while True:
            with self._lock:
                if self._is_stopping:
                    return None
                piece = worker.piece or self._choose(worker)
                if piece is None:
                    worker.wake.wait(_LOOK_S)
                    piece = worker.piece
                worker.piece = None
                if piece is not None:
                    return piece
            self._end_idle_jobs()
            if time.monotonic() - checked_at > _CHECK_S:
                worker.note_memory(worker.link.check())
                checked_at = time.monotonic()

    def _run(self, worker: PoolWorker, piece: Piece) -> None:
        job, error, result = piece.job, None, None
        receive = following(partial(self._receive, piece), worker.note_activity)
        try:
            result = worker.link.run(piece.work, receive, piece.cancel, worker.note_memory)
        except WorkerLost as lost:
            with self._lock:
                worker.status = replace(worker.status, state="lost", reason=f"{lost}.")
            self._put_back(worker, piece, str(lost))
            raise
        except WebUIError as failure:
            error = failure
        except Exception as failure:  # the thread goes on
            logger.exception("A job failed with an unexpected error.")
            error = internal_error(failure)
        try:
            job.close(piece)
        except Exception as failure:  # noqa: BLE001  such as a full disk, which the job ends with
            error = error or failure
        with self._lock:
            job.put_down(piece)
            worker.status = replace(worker.status, state="idle", activity="", job_id="")
            if error is not None:
                job.fail(error)
        self._end_if_over(job, result)

    def _receive(self, piece: Piece, event: Event) -> None:
        try:
            piece.receive(event)
        except Exception as error:  # noqa: BLE001  such as a full disk: the worker stops at its next step
            with self._lock:
                piece.job.fail(error)

    def _put_back(self, worker: PoolWorker, piece: Piece, reason: str) -> None:
        job = piece.job
        with self._lock:
            if job in self._jobs:
                note = job.put_back(piece, reason)
            else:  # an order for this worker alone
                job.put_down(piece)
                note = ""
                job.fail(WebUIError(f"The worker {worker.link.name} was lost: {reason}."))
            has_worker = any(one.is_alive for one in self._workers)
            self._match()
        if note:
            job.report(*lost_events(note, has_worker))
        self._end_if_over(job)

    def _lose(self, worker: PoolWorker, reason: str) -> None:
        if self._is_stopping:
            return
        logger.warning("The worker %s was lost: %s. It is started again.", worker.link.name, reason)
        self._take_back(worker, "lost", reason)

    def _refuse(self, worker: PoolWorker, error: WebUIError) -> None:
        logger.warning("The worker %s cannot be used: %s", worker.link.name, error)
        self._take_back(worker, "refused", str(error).rstrip("."))

    def _take_back(self, worker: PoolWorker, state: WorkerState, reason: str) -> None:
        """Take back what a worker was handed, since it cannot work; the reason has no full stop."""
        with self._lock:
            worker.status = WorkerStatus(
                worker.link.name, worker.status.machine, worker.status.device, state, f"{reason}."
            )
            orders, piece = list(worker.orders), worker.piece
            worker.orders.clear()
            worker.piece = None
        if piece is not None:  # it was handed out just now
            self._put_back(worker, piece, reason)
        for job in orders:
            job.fail(WebUIError(f"The worker {worker.link.name} was lost: {reason}."))
            job.finish()
        self._fail_hopeless_jobs()

    def _fail_hopeless_jobs(self) -> None:
        """Fail the jobs that no worker can do, and report once that there is no device when every worker has failed."""
        with self._lock:
            for job in self._jobs:
                if needs_missing_server(job, self._workers):
                    job.fail(WebUIError(_NEEDS_SERVER))
            states = {one.status.state for one in self._workers}
            has_none = bool(states) and states <= {"lost", "refused"}
            reasons = " ".join(dict.fromkeys(one.status.reason for one in self._workers))
            if states == {"refused"}:
                self._failure = reasons
                for job in self._jobs:
                    job.fail(WebUIError(reasons))
            is_first = has_none and not self._reported
            if is_first:
                self._reported = "failed"
        self._end_idle_jobs()
        if is_first:
            self._report(None, reasons)

    def _report(self, info: DeviceInfo | None, failure: str) -> None:
        try:
            self._on_ready(info, failure)
        except Exception:  # an error of the listener does not end the worker's thread
            logger.exception("An unexpected error after a worker was started.")

    def _wait(self, worker: PoolWorker, pause_s: float) -> None:
        deadline = time.monotonic() + pause_s
        while (left_s := deadline - time.monotonic()) > 0 and not worker.is_retired:
            if self._is_stopping:
                return
            with self._lock:
                worker.wake.wait(min(_LOOK_S, left_s))
            self._end_idle_jobs()

    # Choice; under the lock

    def _match(self) -> None:
        """Hand out what idle workers can do."""
        for worker in self._workers:
            if worker.status.state == "idle" and worker.piece is None:
                worker.piece = self._choose(worker)
                if worker.piece is not None:
                    worker.wake.notify()

    def _choose(self, worker: PoolWorker) -> Piece | None:
        piece = choose_piece(worker, self._workers, self._jobs, self._times.steal_after_s)
        if piece is not None:
            worker.note_work(piece)
        return piece

    # Ends

    def _order(self, work: Work[Any], workers: Sequence[PoolWorker]) -> Future[Any]:
        """Give some work to each of the workers; the caller holds the lock."""
        broadcast = Broadcast()
        for worker in workers:
            job = PoolJob(work, ignore_events, None)
            worker.orders.append(job)
            broadcast.add(worker.link.name, job.future)
            worker.wake.notify()
        return broadcast.future

    def _end_if_over(self, job: PoolJob, result: Any = None) -> None:
        with self._lock:
            if not job.is_over:
                return
            if job in self._jobs:
                self._jobs.remove(job)
        job.finish(result)

    def _end_idle_jobs(self) -> None:
        """End the jobs that were interrupted, or have failed, while no worker had anything of them."""
        with self._lock:
            over = [job for job in self._jobs if job.is_over]
        for job in over:
            self._end_if_over(job)


def _label(facts: WorkerFacts, count: int) -> str:
    return facts.device if count == 1 else f"{count} workers: {facts.device}"


def _ignore_ready(info: DeviceInfo | None, failure: str) -> None:
    del info, failure
