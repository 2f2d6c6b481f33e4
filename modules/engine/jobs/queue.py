"""The job queue: accepts requests, runs them in the slots of the executor, and keeps their results."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from modules.core.errors import Cancelled, NotFound, UserError, internal_error
from modules.engine.executors import Executor
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.dispatcher import Dispatcher
from modules.engine.jobs.fair_queue import FairQueue, Move
from modules.engine.jobs.job import Job, SaveImage
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.job_status import ENDED_STATES, JobStatus
from modules.engine.jobs.restored_jobs import RestoredJobs, unload_images
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import with_resolved_names
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.plan import Plan
from modules.plan.work import LoadModel

logger = logging.getLogger(__name__)

# Ended jobs whose previews and errors stay in memory; the store keeps many more.
_MAX_ENDED_IN_MEMORY = 200
_STOPPED = "The server was stopped; the job waits for its next start."
_AFTERWARDS = "An error occurred after the pictures were made; the log has the details."
_NO_DEVICE = "The device could not be opened; the job waits for the server's next start."


class JobQueue:
    """Queued, running and ended jobs. Thread-safe: its state is only read and written under its lock.

    Args:
        executor: Runs the jobs; it gets as many as it has slots, so that the order can change until the last moment.
        store: Keeps jobs across restarts.
        make_plan: Returns the plan of a request.
        image_saver: Saves images and grids.
        on_success: Called with each job that ended without an error.
    """

    def __init__(
        self,
        executor: Executor,
        store: JobStore,
        make_plan: Callable[[JobRequest, Settings], JobPlan],
        image_saver: ImageSaver,
        on_success: Callable[[Job], None],
    ) -> None:
        self.store = store
        self.make_plan = make_plan
        self._image_saver = image_saver
        self._on_success = on_success
        self._lock = threading.RLock()
        self._waiting = FairQueue()
        self._jobs: dict[str, Job] = {}
        self._ended_ids: deque[str] = deque()
        self._restored_jobs: list[Job] = []
        self._restored = RestoredJobs(
            store, lambda request, options: self.make_plan(request, options), image_saver.save
        )
        self._is_paused = False
        self._is_stopping = False
        self._dispatcher = Dispatcher(
            executor, self._pop_next, self._plan_with_images, self._finish
        )

    # Submission

    def submit(
        self,
        request: JobRequest,
        settings: Settings,
        source: str,
        save: SaveImage | None = None,
        with_recording: bool = False,
        job_id: str = "",
    ) -> Job:
        """Queue a request and return its job.

        Args:
            request: The request.
            settings: The current settings.
            source: Name of the client; sources take turns.
            save: Saves its images in this run; the image saver does by default.
            with_recording: Whether the denoising of the first image is recorded, see `Job.take_recording`.
            job_id: The id of a job that was announced; else a new id is generated.

        Raises:
            WebUIError: it cannot be planned, or the server is stopping.
        """
        plan = self.make_plan(request, settings)
        if with_recording and isinstance(plan, Plan):
            plan = replace(plan, record=True)
        job = Job(plan, save or self._image_saver.save, self.store, job_id)
        with self.store.hold_request(with_resolved_names(request, plan), settings) as stored:
            with self._lock:
                self.raise_if_stopping()
                position = self._waiting.add(job.id, source)
                self._register(job)
                try:
                    if self.store.add(position, stored, plan.image_count):
                        unload_images(job, stored.image_names)
                except BaseException:  # a client that gets an error has no job
                    self._waiting.remove(job.id)
                    self._jobs.pop(job.id, None)
                    raise
        self._dispatcher.dispatch()
        return job

    def open(self, has_device: bool) -> None:
        """Start running jobs. Without a device new jobs fail, and those of the last run stay queued."""
        if not has_device:
            with self._lock:
                restored = list(self._restored_jobs)
                self._forget_unplanned()
            for job in restored:
                job.suspend(_NO_DEVICE)
                job.interrupt()
        self._dispatcher.open()

    def restore(self, resume: bool) -> None:
        """Restore the jobs that were queued when the last server stopped; they run once the queue is open."""
        with self._lock:
            jobs, restored = self._restored.read()
            positions = self._waiting.restore(restored)
            for job in jobs:
                self._register(job)
            self._restored_jobs += jobs
            self._is_paused = self._is_paused or (bool(restored) and not resume)
            state = "paused" if self._is_paused else "resumed"
        self.store.update_positions(positions)
        if restored:
            logger.info("%s waiting jobs of the last run: %s.", len(restored), state)

    def retry(self, job_id: str) -> Job:
        """Queue an ended job again, as a new job with the same seeds, and return the new job.

        Raises:
            NotFound: it is unknown, or an input image of it is no longer stored.
            UserError: it has not ended.
        """
        record = self.record(job_id)
        if record.state not in ENDED_STATES:
            raise UserError(f"This job is {record.state}.", "Only an ended job can be retried.")
        request, settings = self.store.restore_request(record.stored_request)
        return self.submit(request, settings, record.queue_position.source)

    def load_when_idle(self, work: LoadModel, on_loaded: Callable[[Future[None]], None]) -> None:
        """Load a checkpoint once no job is queued, since each job loads its own. Only the latest call counts."""
        self._dispatcher.load_when_idle(work, on_loaded)

    # Order

    def move(self, job_id: str, direction: Move) -> None:
        """Move a queued job up, down or to the front."""
        with self._lock:
            self.job(job_id)
            positions = self._waiting.move(job_id, direction)
            self.store.update_positions(positions.values())

    def cancel(self, job_id: str, after_picture: bool = False) -> None:
        """Stop a job at its next step or after the running batch; a queued job never starts."""
        job = self.job(job_id)
        if after_picture and job.status().state == "running":
            job.stop_after_image()
        else:
            job.interrupt()

    def cancel_all(self) -> None:
        """Stop the running jobs and all queued ones."""
        with self._lock:
            unplanned = self._forget_unplanned()
        for record in unplanned:
            ended = replace(record.status(), state="cancelled")
            self.store.log_end(replace(ended, error=ended.interrupted_text))
        for job in reversed(self.jobs()):
            job.interrupt()

    def pause(self) -> None:
        """Start no further jobs."""
        with self._lock:
            self._is_paused = True

    def resume(self) -> None:
        """Start jobs again after a pause."""
        with self._lock:
            self._is_paused = False
        self._dispatcher.dispatch()

    @property
    def is_paused(self) -> bool:
        """Return whether the queue is paused."""
        with self._lock:
            return self._is_paused

    # Lookup

    def job(self, job_id: str) -> Job:
        """Return a queued, running or recently ended job.

        Raises:
            NotFound: the id is unknown, or the job ended long ago.
        """
        job = self._find(job_id)
        if job is None:
            raise NotFound(
                "This job is no longer known.", "Its pictures are in the outputs folder."
            )
        return job

    def jobs(self) -> list[Job]:
        """Return the jobs in memory, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def status(self, job_id: str) -> JobStatus:
        """Return the status of a job, from the store if it is no longer in memory.

        Raises:
            NotFound: the id is unknown.
        """
        job = self._find(job_id)
        return job.status() if job is not None else self.store.record(job_id).status()

    def record(self, job_id: str) -> JobRecord:
        """Return the stored record of a job.

        Raises:
            NotFound: the id is unknown.
        """
        try:
            return self.store.record(job_id)
        except NotFound:
            return self.job(job_id).record()

    def current_status(self, record: JobRecord) -> JobStatus:
        """Return the current status of a stored job."""
        job = self._find(record.id)
        return record.status() if job is None else job.status()

    @property
    def slots(self) -> int:
        """Return how many jobs run at once."""
        return self._dispatcher.slots

    def running_jobs(self) -> list[Job]:
        """Return the running jobs, oldest first."""
        return [job for job in self._dispatcher.jobs() if job.status().state == "running"]

    def running_job(self) -> Job | None:
        """Return the oldest running job, or None."""
        return next(iter(self.running_jobs()), None)

    def jobs_ahead_of(self, job_id: str) -> int | None:
        """Return the number of queued jobs before a queued one; None if it is not queued."""
        with self._lock:
            return self._waiting.index(job_id)

    def waiting_phase(self, job_id: str) -> str:
        """Return the phase text of a queued job: what it waits for, or how many jobs must end before it."""
        ahead = self.jobs_ahead_of(job_id)
        if ahead is None:  # the executor has it
            return "Waiting for the device"
        if self.is_paused:
            return "Waiting: the queue is paused"
        count = ahead + (1 if self.running_jobs() else 0)
        if not count:
            return "Waiting for the device"
        return f"Waiting: {count} {'job comes' if count == 1 else 'jobs come'} first"

    # Execution and shutdown

    def raise_if_stopping(self) -> None:
        """Raise Cancelled if the server is stopping."""
        with self._lock:
            is_stopping = self._is_stopping
        if is_stopping:
            raise Cancelled("The server is stopping.")

    def stop(self) -> None:
        """Stop the running jobs at their next step; queued jobs are suspended until the next start."""
        with self._lock:
            self._is_stopping = True
        self._dispatcher.forget_load()
        for job in self.jobs():
            if job.status().state == "queued":
                job.suspend(_STOPPED)
            job.interrupt()

    def close(self) -> None:
        """End jobs that the device will not finish, so that nobody waits for them, and close the store."""
        for job in self.jobs():
            job.finish("cancelled", "The server was stopped.")
        self.store.close()

    def _pop_next(self) -> Job | None:
        with self._lock:
            is_held = self._is_paused or self._is_stopping
            while not is_held and (job_id := self._waiting.pop()) is not None:
                if (job := self._find(job_id)) is not None:  # else it can no longer be planned
                    return job
            return None

    def _plan_with_images(self, job: Job) -> JobPlan:
        """Return the plan of a job with its input images loaded.

        Raises:
            NotFound: an image file is missing.
        """
        images = {field: self.store.input_image(name) for field, name in job.image_names.items()}
        return job.plan.with_images(images)

    def _finish(self, job: Job, error: BaseException | None) -> None:
        try:
            self._end(job, error)
        except Exception:  # no error may stop the queue
            logger.exception("An unexpected error at the end of a job.")
            job.add_note(_AFTERWARDS)
        finally:
            job.finish("failed", _AFTERWARDS)  # counts only if the job has not ended
            self._evict_old_jobs(job)

    def _end(self, job: Job, error: BaseException | None) -> None:
        status = job.status()
        finished, label = status.finished_text, job.plan.label

        def save_grid() -> None:
            job.grid_path = self._image_saver.save_grid(job.plan, status.images, job.add_note)

        self._afterwards(job, save_grid)
        if error is None:
            self._afterwards(job, partial(self._on_success, job))
            job.finish("done")
            logger.info("%s.", f"Made {finished} with {label}" if finished else f"Done: {label}")
        elif isinstance(error, Cancelled):
            job.finish("cancelled", status.interrupted_text)
            logger.info("%s", status.interrupted_text)
        else:
            failure = internal_error(error)
            job.finish("failed", str(failure), failure)
            made = f" with {finished} finished" if finished else ""
            logger.warning("A job failed%s: %s", made, failure)

    def _afterwards(self, job: Job, work: Callable[[], None]) -> None:
        """Do what comes after the pictures; where it fails, they are made all the same, and a note says so."""
        try:
            work()
        except Exception:  # no error may stop the queue
            logger.exception("An unexpected error after the pictures were made.")
            job.add_note(_AFTERWARDS)

    def _find(self, job_id: str) -> Job | None:
        with self._lock:
            if (job := self._restored.plan(job_id)) is not None:
                self._register(job)
            return self._jobs.get(job_id)

    def _forget_unplanned(self) -> Sequence[JobRecord]:
        """Take the restored jobs without a plan out of the queue and return them; the caller holds the lock."""
        unplanned = self._restored.take_unplanned()
        for record in unplanned:
            self._waiting.remove(record.id)
        return unplanned

    def _register(self, job: Job) -> None:
        """Add a job to those in memory; the caller holds the lock."""
        self._jobs[job.id] = job
        job.on_interrupt = partial(self._cancel_waiting, job)

    def _cancel_waiting(self, job: Job) -> None:
        """End a job if it is still queued."""
        with self._lock:
            was_waiting = self._waiting.remove(job.id)
        if was_waiting:
            job.finish("cancelled", job.status().interrupted_text)
            self._evict_old_jobs(job)

    def _evict_old_jobs(self, job: Job) -> None:
        with self._lock:
            self._ended_ids.append(job.id)
            if len(self._ended_ids) > _MAX_ENDED_IN_MEMORY:
                self._jobs.pop(self._ended_ids.popleft(), None)
