"""Fills the slots of the executor with jobs, and loads a checkpoint when none is left to run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from modules.core.errors import Cancelled, WebUIError
from modules.engine.executors import Executor
from modules.engine.jobs.job import Job
from modules.params.events import CancelToken, Sink, ignore_events
from modules.plan.job_plan import JobPlan
from modules.plan.work import LoadModel, Work

logger = logging.getLogger(__name__)


class Dispatcher:
    """Gives jobs to the executor. Thread-safe: its state is only read and written under its lock.

    Args:
        executor: Runs the jobs; it gets as many as it has slots, so that their order can change until the last moment.
        pop_next: Removes the next job from the waiting ones and returns it; None when none may start.
        prepare: Returns the plan of a job with its input images, or raises an error, with which the job ends.
        finish: Ends a job that ran, with its error if it had one.
    """

    def __init__(
        self,
        executor: Executor,
        pop_next: Callable[[], Job | None],
        prepare: Callable[[Job], JobPlan],
        finish: Callable[[Job, BaseException | None], None],
    ) -> None:
        self._executor = executor
        self._pop_next = pop_next
        self._prepare = prepare
        self._finish = finish
        self._lock = threading.RLock()
        self._thread = threading.local()
        self._running: dict[str, Job] = {}  # those that the executor has, oldest first
        self._is_open = False
        self._is_loading = False
        self._pending_load: tuple[LoadModel, Callable[[Future[None]], None]] | None = None

    def open(self) -> None:
        """Start jobs from now on."""
        with self._lock:
            self._is_open = True
        self.dispatch()

    @property
    def slots(self) -> int:
        """Return how many jobs run at once."""
        return self._executor.slots

    def dispatch(self) -> None:
        """Start jobs until the slots are full; if nothing is left to run, the pending load."""
        if self._thread.__dict__.get("is_dispatching"):
            return  # work that failed at once: thousands of such jobs would go deeper and deeper, the caller goes on
        self._thread.is_dispatching = True
        try:
            while (job := self._take_next()) is not None or self._load_if_idle():
                if job is not None:
                    self._start(job)
        finally:
            self._thread.is_dispatching = False

    def jobs(self) -> list[Job]:
        """Return the jobs that the executor has, oldest first."""
        with self._lock:
            return list(self._running.values())

    def load_when_idle(self, work: LoadModel, on_loaded: Callable[[Future[None]], None]) -> None:
        """Load a checkpoint once no job is queued or runs, since each job loads its own. Only the latest call counts."""
        with self._lock:
            self._pending_load = work, on_loaded
        self.dispatch()

    def forget_load(self) -> None:
        """Drop the pending load."""
        with self._lock:
            self._pending_load = None

    def _take_next(self) -> Job | None:
        with self._lock:
            is_full = len(self._running) + self._is_loading >= self._executor.slots
            job = None if is_full or not self._is_open else self._pop_next()
            if job is not None:
                self._running[job.id] = job
            return job

    def _start(self, job: Job) -> None:
        try:
            job.plan = self._prepare(job)
        except WebUIError as error:
            self._end(job, error)
            return
        except Exception as error:  # no error may stop the queue
            logger.exception("A job could not be prepared.")
            self._end(job, error)
            return
        future = self._submit(job.plan, job.receive, job.cancel, job.id)
        job.on_interrupt = future.cancel  # ends it at once if the device is not open yet
        if job.cancel.is_interrupted():
            future.cancel()
        future.add_done_callback(partial(self._on_end, job))

    def _on_end(self, job: Job, future: Future[None]) -> None:
        try:
            self._end(job, Cancelled("") if future.cancelled() else future.exception())
        finally:
            self.dispatch()

    def _end(self, job: Job, error: BaseException | None) -> None:
        try:
            self._finish(job, error)
        finally:
            with self._lock:
                self._running.pop(job.id, None)

    def _submit(
        self,
        work: Work[Any],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[Any]:
        """Return the future of some work; one that has failed if the executor does not accept it."""
        try:
            return self._executor.submit(work, sink, cancel, job_id)
        except Exception as error:  # no error may stop the queue
            logger.exception("The device did not accept its work.")
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def _load_if_idle(self) -> bool:
        """Start the pending load if nothing is left to run, and return whether it was started."""
        with self._lock:
            is_busy = self._running or self._is_loading
            if is_busy or self._pending_load is None or not self._is_open:
                return False
            (work, on_loaded), self._pending_load = self._pending_load, None
            self._is_loading = True
        future = self._submit(work)
        future.add_done_callback(on_loaded)
        future.add_done_callback(self._on_loaded)
        return True

    def _on_loaded(self, future: Future[None]) -> None:
        del future
        with self._lock:
            self._is_loading = False
        self.dispatch()
