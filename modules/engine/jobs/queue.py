"""The queue: takes requests in, hands them to the device one at a time, and remembers what came of them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from modules.core.errors import Cancelled, NotFound, UserError, WebUIError
from modules.engine.executors import Executor, LoadCheckpoint
from modules.engine.jobs.fair_queue import FairQueue, Move
from modules.engine.jobs.job import ENDED_STATES, Job, JobStatus, SaveImage
from modules.engine.jobs.job_maker import JobMaker, QueueHooks
from modules.engine.jobs.job_record import JobRecord, record_from_job
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import deserialize, with_resolved_names
from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings

logger = logging.getLogger(__name__)

# Ended jobs whose previews and errors are still at hand; the store knows many more.
_REMEMBERED_JOBS = 200
_LEFT = "The server was stopped; the job waits for its next start."
_NO_DEVICE = "The device could not be opened; the job waits for the server's next start."


class JobQueue:
    """Waiting, running and ended jobs of one device. Thread-safe: its state is read and written under its lock alone.

    Args:
        executor: The device; it has one job at a time, so that the order can change until the last moment.
        store: Where jobs outlive the server.
        hooks: Plans requests and saves pictures.
    """

    def __init__(self, executor: Executor, store: JobStore, hooks: QueueHooks) -> None:
        self.store = store
        self._executor = executor
        self._hooks = hooks
        self._lock = threading.RLock()
        self._waiting = FairQueue()
        self._jobs: dict[str, Job] = {}
        self._ended_ids: deque[str] = deque()
        self._maker = JobMaker(store, hooks)
        self._current: Job | None = None
        self._restored_jobs: list[Job] = []
        self._is_open = False
        self._is_busy = False
        self._is_paused = False
        self._is_stopping = False
        self._pending_load: tuple[LoadCheckpoint, Callable[[Future[None]], None]] | None = None

    # In

    def submit(
        self,
        request: GenerationRequest,
        settings: Settings,
        source: str,
        save: SaveImage | None = None,
        with_recording: bool = False,
    ) -> Job:
        """Put a request in the queue.

        Args:
            request: What to make.
            settings: The options in force.
            source: Who asks: sources take turns.
            save: Saves its pictures in this run, if not the owner.
            with_recording: Whether the way to the first picture is written down, see `Job.take_recording`.

        Raises:
            WebUIError: it cannot be planned, or the server stops.
        """
        plan = replace(self._hooks.plan(request, settings), record=with_recording)
        job = self._maker.create(plan, save)
        with self.store.hold_request(with_resolved_names(request, plan), settings) as frozen:
            with self._lock:
                self.raise_if_stopping()
                place = self._waiting.add(job.id, source)
                self._register(job)
                if self.store.add(place, frozen, len(plan.images)):
                    self._maker.unload_images(job, frozen.image_names)
        self._dispatch_next()
        return job

    def open(self, has_device: bool) -> None:
        """Begin to work. Without a device new jobs fail, and those of the last run go on waiting."""
        if not has_device:
            with self._lock:
                restored = list(self._restored_jobs)
            for job in restored:
                job.suspend(_NO_DEVICE)
                job.interrupt()
        with self._lock:
            self._is_open = True
        self._dispatch_next()

    def restore(self, resume: bool) -> None:
        """Take in what waited when the last server stopped; it goes on once the queue is open."""
        rows = self.store.take_leftover_jobs()
        jobs = [(row, job) for row in rows if (job := self._maker.restore(row)) is not None]
        with self._lock:
            places = self._waiting.restore([row.queue_position for row, _ in jobs])
            for _, job in jobs:
                self._register(job)
            self._restored_jobs += [job for _, job in jobs]
            self._is_paused = self._is_paused or (bool(jobs) and not resume)
            state = "paused" if self._is_paused else "resumed"
        self.store.update_positions(places)
        if jobs:
            logger.info("%s waiting jobs of the last run: %s.", len(jobs), state)

    def retry(self, job_id: str) -> Job:
        """Put an ended job in the queue again, as a new one with the same seeds, and return that.

        Raises:
            NotFound: it is not known, or a picture of it is no longer kept.
            UserError: it has not ended.
        """
        row = self.record(job_id)
        if row.state not in ENDED_STATES:
            raise UserError(f"This job is {row.state}.", "Only an ended one can be tried again.")
        request, settings = deserialize(row.stored_request, self.store.input_image)
        return self.submit(request, settings, row.queue_position.source)

    def load_when_idle(
        self, work: LoadCheckpoint, on_loaded: Callable[[Future[None]], None]
    ) -> None:
        """Load a checkpoint once no job waits: each brings its own. The last one asked for counts."""
        with self._lock:
            self._pending_load = work, on_loaded
        self._dispatch_next()

    # Order

    def move(self, job_id: str, where: Move) -> None:
        """Let a waiting job come earlier or later."""
        with self._lock:
            self.job(job_id)
            places = self._waiting.move(job_id, where)
            self.store.update_positions(places.values())

    def cancel(self, job_id: str, after_picture: bool = False) -> None:
        """Stop a job at its next step or after the picture it is at; a waiting one never begins."""
        job = self.job(job_id)
        if after_picture and job.status().state == "running":
            job.stop_after_image()
        else:
            job.interrupt()

    def cancel_all(self) -> None:
        """Stop the running job and all that wait."""
        for job in reversed(self.jobs()):
            job.interrupt()

    def pause(self) -> None:
        """Begin no further job."""
        with self._lock:
            self._is_paused = True

    def resume(self) -> None:
        """Go on."""
        with self._lock:
            self._is_paused = False
        self._dispatch_next()

    @property
    def is_paused(self) -> bool:
        """Return whether no further job begins."""
        with self._lock:
            return self._is_paused

    # Asked

    def job(self, job_id: str) -> Job:
        """Return a waiting, running or lately ended job.

        Raises:
            NotFound: it never was, or is long past.
        """
        found = self._find(job_id)
        if found is None:
            raise NotFound(
                "This job is no longer known.", "Its pictures are in the outputs folder."
            )
        return found

    def jobs(self) -> list[Job]:
        """Return the remembered jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def status(self, job_id: str) -> JobStatus:
        """Return what is known of a job, however long past.

        Raises:
            NotFound: it never was.
        """
        found = self._find(job_id)
        return found.status() if found is not None else self.store.record(job_id).status()

    def record(self, job_id: str) -> JobRecord:
        """Return what is stored of a job.

        Raises:
            NotFound: it never was.
        """
        try:
            return self.store.record(job_id)
        except NotFound:
            return record_from_job(self.job(job_id))

    def current_status(self, record: JobRecord) -> JobStatus:
        """Return what is known of a stored job at this moment."""
        found = self._find(record.id)
        return record.status() if found is None else found.status()

    def running_job(self) -> Job | None:
        """Return the job that the device works on."""
        with self._lock:
            job = self._current
        return job if job is not None and job.status().state == "running" else None

    def jobs_ahead_of(self, job_id: str) -> int | None:
        """Return how many waiting jobs come before a waiting one; None when it does not wait."""
        with self._lock:
            ids = self._waiting.job_ids()
        return ids.index(job_id) if job_id in ids else None

    # Out

    def raise_if_stopping(self) -> None:
        """Raise Cancelled once the server stops."""
        with self._lock:
            is_stopping = self._is_stopping
        if is_stopping:
            raise Cancelled("The server is stopping.")

    def stop(self) -> None:
        """Stop the running job at its next step; the waiting ones are left for the next start."""
        with self._lock:
            self._is_stopping = True
            self._pending_load = None
        for job in self.jobs():
            if job.status().state == "queued":
                job.suspend(_LEFT)
            job.interrupt()

    def close(self) -> None:
        """Wake whoever waits for a job that the device will not bring back, and let go of the store."""
        for job in self.jobs():
            job.finish("cancelled", "The server was stopped.")
        self.store.close()

    def _dispatch_next(self) -> None:
        """Give the device its next piece of work, if it has none."""
        while (job := self._pop_next()) is not None:
            try:
                plan = self._maker.plan_with_images(job)
            except WebUIError as error:
                self._finish(job, error)
                continue
            job.plan = plan
            future = self._executor.run(plan, job)
            job.on_interrupt = future.cancel  # ends it at once while the device is not open yet
            if job.is_interrupted():
                future.cancel()
            future.add_done_callback(partial(self._on_end, job))
            return
        self._load_if_idle()

    def _pop_next(self) -> Job | None:
        with self._lock:
            if self._is_busy or self._is_paused or self._is_stopping or not self._is_open:
                return None
            job_id = self._waiting.pop()
            if job_id is None:
                return None
            self._is_busy = True
            self._current = self._jobs[job_id]
            return self._current

    def _load_if_idle(self) -> None:
        with self._lock:
            if self._is_busy or self._pending_load is None or not self._is_open:
                return
            (work, on_loaded), self._pending_load = self._pending_load, None
            self._is_busy = True
        future = self._executor.load(work)
        future.add_done_callback(on_loaded)
        future.add_done_callback(self._on_loaded)

    def _on_loaded(self, future: Future[None]) -> None:
        del future
        with self._lock:
            self._is_busy = False
        self._dispatch_next()

    def _on_end(self, job: Job, future: Future[None]) -> None:
        self._finish(job, Cancelled("") if future.cancelled() else future.exception())
        self._dispatch_next()

    def _finish(self, job: Job, error: BaseException | None) -> None:
        status = job.status()
        made = f"{len(status.images)} of {status.image_count} pictures"
        name = job.plan.checkpoint.name
        try:
            self._hooks.on_images_complete(job)
        except Exception:  # whatever it is, the queue goes on
            logger.exception("A fault of the program after the pictures were made.")
            job.on_note("Not all could be done with the pictures; the log has the details.")
        if error is None:
            job.finish("done")
            self._hooks.on_success(job)
            logger.info("Made %s with %s.", made, name)
        elif isinstance(error, Cancelled):
            job.finish("cancelled", f"Interrupted: {made} were finished.")
            logger.info("Interrupted: %s were finished.", made)
        else:
            job.finish("failed", str(error), error if isinstance(error, WebUIError) else None)
            logger.warning("A job failed with %s finished: %s", made, error)
        self._evict_old_jobs(job)
        with self._lock:
            self._current, self._is_busy = None, False

    def _find(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    def _register(self, job: Job) -> None:
        """Remember a job; the caller holds the lock."""
        self._jobs[job.id] = job
        job.on_interrupt = partial(self._cancel_waiting, job)

    def _cancel_waiting(self, job: Job) -> None:
        """End a job that still waits."""
        with self._lock:
            waited = self._waiting.remove(job.id)
        if waited:
            made = f"0 of {len(job.plan.images)} pictures"
            job.finish("cancelled", f"Interrupted: {made} were finished.")
            self._evict_old_jobs(job)

    def _evict_old_jobs(self, job: Job) -> None:
        with self._lock:
            self._maker.forget(job)
            self._ended_ids.append(job.id)
            if len(self._ended_ids) > _REMEMBERED_JOBS:
                self._jobs.pop(self._ended_ids.popleft(), None)
