"""One cell of a group: answered from the store if it ended before a restart, else run as a job.

A recording is kept in memory alone: a recorded cell of an earlier run is made again with its recording, and its images
that exist are not saved again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from pydantic import BaseModel

from modules.core.errors import Cancelled, NotFound, WebUIError, internal_error
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.group_record import CellAttempt
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.queue import JobQueue
from modules.engine.jobs.stored_request import with_seeds_from
from modules.params.requests.job_request import JobRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.scripts.protocol import Cell, CellResult, CellState, Script

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupSpec:
    """What a group runs.

    Args:
        id: Its id, impossible to guess, like that of a job.
        script: Makes the cells.
        request: The request that the script starts from.
        args: The script's arguments.
        settings: The options of all its jobs.
        source: Name of the client that started it.
    """

    id: str
    script: Script
    request: JobRequest
    args: BaseModel
    settings: Settings
    source: str


class CellRun:
    """A cell and its job.

    Args:
        spec: The group.
        cell: What the script has yielded.
        attempts: Its jobs of earlier runs, in order.
        position: Number of the cell in the group, from 0.
        queue: Runs the job and has the job store.
        image_saver: Saves its images.

    Attributes:
        job: The running job; None before, and for a cell that needs none.
        request: The job's request, without its images.
    """

    def __init__(
        self,
        spec: GroupSpec,
        cell: Cell,
        position: int,
        attempts: Sequence[CellAttempt],
        queue: JobQueue,
        image_saver: ImageSaver,
    ) -> None:
        self.cell = cell
        self.position = position
        self.job: Job | None = None
        self.request: JobRequest | None = None
        self._earlier_images = queue.store.groups.images(attempts)
        if not cell.is_shown and _has_lost_images(attempts, self._earlier_images):
            attempts, self._earlier_images = (), ()  # they are kept for a day only
        self._earlier_notes = tuple(note for attempt in attempts for note in attempt.notes)
        self._spec = spec
        self._attempts = list(attempts)
        self._queue = queue
        self._image_saver = image_saver
        self._result: CellResult | None = None

    def start(self) -> None:
        """Submit what is left of the cell; an error becomes its result."""
        last = self._attempts[-1] if self._attempts else None
        if last is not None and last.state != "running" and not self._has_lost_recording(last):
            self._result = CellResult(last.state, self._earlier_images, last.notes, last.error)
            return
        try:
            self._submit()
        except Cancelled as error:  # the server is stopping
            self._result = CellResult("cancelled", self._earlier_images, error=str(error))
        except WebUIError as error:
            self._end("failed", (), str(error))
        except Exception as error:  # of this cell; the others go on
            logger.exception("The cell '%s' failed.", self.cell.name)
            self._end("failed", (), str(internal_error(error)))

    def has_ended(self) -> bool:
        """Return whether the cell has nothing left to do."""
        return self._result is not None or (self.job is not None and self.job.status().has_ended)

    def images(self) -> tuple[GeneratedImage, ...]:
        """Return the images so far."""
        images = self.job.status().images if self.job is not None else ()
        return (*self._earlier_images, *images)

    def interrupt(self) -> None:
        """Stop the job at its next step."""
        if self.job is not None:
            self.job.interrupt()

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the cell has nothing left to do; at once if it has nothing already."""
        if self.job is None:
            callback()
        else:
            self.job.add_done_callback(callback)

    def wait_for_result(self, is_suspended: Callable[[], bool]) -> CellResult:
        """Wait for the end of the cell, store it and return it.

        Args:
            is_suspended: Whether the server is stopping: then the next start goes on with the cell.
        """
        if self._result is not None:
            return self._result
        assert self.job is not None  # `start` sets one of the two
        self.job.wait()
        status = self.job.status()
        images = (*self._earlier_images, *status.images)
        state: CellState = "done"
        if status.state in ("failed", "cancelled"):
            state = "failed" if status.state == "failed" else "cancelled"
        notes = tuple(dict.fromkeys((*self._earlier_notes, *status.notes)))
        if not is_suspended():
            self._end(state, notes, status.error)
        return CellResult(state, images, notes, status.error)

    def _has_lost_recording(self, last: CellAttempt) -> bool:
        return self.cell.is_recorded and last.state == "done"

    def _submit(self) -> None:
        """Submit the cell's job, or what is left of one that a restart has interrupted.

        Raises:
            WebUIError: the request cannot be made or planned, or the server is stopping.
        """
        record = self._find_record()
        is_forgotten = not self.cell.is_shown and not self._earlier_images
        is_needed = self.cell.is_recorded or is_forgotten
        if record is not None and not is_needed and _is_complete(record):
            self._end("done", record.notes, "")
            return
        attempt = self._next_attempt(record)
        self._log(attempt)
        request, settings = self._make_request(record)
        self.request = request.without_images()
        self.job = self._queue.submit(
            request,
            settings,
            self._spec.source,
            self._save,
            self.cell.is_recorded,
            attempt.job_id,
        )

    def _next_attempt(self, record: JobRecord | None) -> CellAttempt:
        """Return the attempt to submit: the last one under its id if its job never began, else a new one."""
        if self._attempts:
            last = self._attempts[-1]
            has_begun = record is not None and record.id == last.job_id
            if last.state == "running" and not has_begun:
                return last
        return CellAttempt(
            self.position,
            len(self._attempts),
            secrets.token_urlsafe(16),
            is_shown=self.cell.is_shown,
        )

    def _make_request(self, record: JobRecord | None) -> tuple[JobRequest, Settings]:
        """Return the request for the images that are missing, with its settings; with a recording, for all of them."""
        if record is None or not self._earlier_images:
            return self.cell.make_request(), self._spec.settings
        request, settings = self._queue.store.restore_request(record.stored_request)
        if self.cell.is_recorded:
            return request, settings
        next_index = _finished_count(record)
        return with_seeds_from(request, next_index, record.image_count - next_index), settings

    def _save(
        self,
        plan: JobPlan,
        index: int,
        image: Image.Image,
        announce: Callable[[GeneratedImage], object],
    ) -> GeneratedImage | None:
        """Save an image of the job, unless it is made again for its recording."""
        if self.cell.is_recorded and any(index == made.index for made in self._earlier_images):
            return None
        if not self.cell.is_shown:
            hidden = {
                "samples_save": False,
                "samples_format": "png",
            }  # what is made of it keeps every pixel
            plan = replace(plan, settings=plan.settings.replace(**hidden))
        return self._image_saver.save(
            plan, index, image, announce, self.cell.destination, self.cell.infotext
        )

    def _find_record(self) -> JobRecord | None:
        """Return the record of the latest job that began, or None if there is none."""
        records = (self._stored_record(attempt.job_id) for attempt in reversed(self._attempts))
        return next((record for record in records if record is not None), None)

    def _stored_record(self, job_id: str) -> JobRecord | None:
        try:
            return self._queue.store.record(job_id)
        except NotFound:  # it was waiting at the restart
            return None

    def _end(self, state: CellState, notes: tuple[str, ...], error: str) -> None:
        self._result = CellResult(state, self._earlier_images, notes, error)
        if self._attempts:  # else its job was not even announced
            self._log(replace(self._attempts[-1], state=state, notes=notes, error=error))

    def _log(self, attempt: CellAttempt) -> None:
        self._attempts[attempt.attempt :] = [attempt]
        try:
            self._queue.store.groups.log_attempt(self._spec.id, attempt)
        except Exception:  # no error of the store may stop the group
            logger.exception("A cell of a group could not be stored.")


def _is_complete(record: JobRecord) -> bool:
    """Return whether a job that a restart has interrupted has all of its images."""
    return record.state == "done" or 0 < _finished_count(record) == record.image_count


def _finished_count(record: JobRecord) -> int:
    """Return how many of a job's images need not be made again."""
    return record.images[-1].index + 1 if record.images else 0


def _has_lost_images(attempts: Sequence[CellAttempt], images: Sequence[GeneratedImage]) -> bool:
    """Return whether an image that a cell has made has no file; a start may have forgotten such an image by then."""
    is_forgotten = not images and any(attempt.state == "done" for attempt in attempts)
    return is_forgotten or not all(image.path.is_file() for image in images)
