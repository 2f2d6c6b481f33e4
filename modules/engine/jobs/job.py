"""One job: its plan, progress and result."""

from __future__ import annotations

import io
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from modules.core.errors import StorageError, WebUIError
from modules.core.text import escape
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.job_status import ENDED_STATES, Completion, JobState, JobStatus
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import serialize
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Event,
    Note,
    Output,
    Phase,
    Preview,
    Progress,
)
from modules.params.requests.job_request import JobRequest
from modules.params.results import GeneratedImage, Recording
from modules.plan.job_plan import JobPlan
from modules.plan.plan import Plan

# Saves one finished image, and calls the function with its record before there is a file; returns None if an earlier
# job has saved it.
SaveImage = Callable[
    [JobPlan, int, Image.Image, Callable[[GeneratedImage], object]], GeneratedImage | None
]

logger = logging.getLogger(__name__)

_PREVIEW_SIDE = 512
_MOST_PREVIEW_SIDE = 2048  # of a batch side by side
_NOT_STORED = "The job could not be stored; the log has the details."
_UNKNOWN_EVENT = (
    "The device reported something that this version does not know ({name}); "
    "the finished pictures are kept."
)


class Job:
    """A plan being carried out: `receive` is the sink of its run.

    Thread-safe: the device's thread writes, the page and the API read.

    Args:
        plan: The plan to carry out.
        save: Saves one finished image and returns its record; None for one that an earlier job has saved.
        store: Records its start, its images and its end; None records nothing.
        job_id: The id of a restored job; else a new id is generated.

    Attributes:
        cancel: Stops its run.
        image_names: While it is queued, the file names of its input images by field; hundreds may be queued, so they
            stay on disk until they run.
    """

    def __init__(
        self,
        plan: JobPlan,
        save: SaveImage,
        store: JobStore | None = None,
        job_id: str = "",
    ) -> None:
        self.id = job_id or secrets.token_urlsafe(16)
        self.plan = plan
        self.cancel = CancelToken()
        self.image_names: Mapping[str, str] = {}
        self.grid_path: Path | None = None  # the grid of its images
        self.on_interrupt: Callable[[], object] = lambda: None
        self._save = save
        self._store = store
        self._lock = threading.Lock()
        self._ended = Completion()
        self._state: JobState = "queued"
        self._phase = "Waiting"
        self._progress = Progress(0, 0)
        self._images: list[GeneratedImage] = []
        self._unfinished: tuple[GeneratedImage, ...] = ()
        self._notes: list[str] = []
        self._error = ""
        self._exception: WebUIError | None = None
        self._preview = b""
        self._depth_map = b""
        self._control_maps: dict[int, bytes] = {}
        self._recording: Recording | None = None
        self._preview_number = 0

    @property
    def request(self) -> JobRequest:
        """Return the request; after the job's end without its input images."""
        return self.plan.request

    def status(self) -> JobStatus:
        """Return a snapshot."""
        with self._lock:
            return JobStatus(
                self.id,
                self._state,
                self._phase,
                self._progress,
                tuple(self._images),
                self.plan.image_count,
                tuple(self._notes),
                self._error,
                self._exception,
                self._preview_number,
            )

    def record(self) -> JobRecord:
        """Return the record of a job that could not be stored."""
        status = self.status()
        return JobRecord(
            queue_position=QueuePosition(0, 0, self.id, ""),
            state=status.state,
            stored_request=serialize(self.plan.request, self.plan.settings, {}),
            image_count=status.image_count,
            created=0.0,
            started=None,
            ended=None,
            error=status.error,
            notes=status.notes,
            images=status.images,
        )

    def watch(self) -> None:
        """Note that a client is watching, so that previews are worth making."""
        self.cancel.watch()

    def preview(self) -> bytes:
        """Return the latest preview as JPEG, or b"" if there is none."""
        return self._preview

    def depth_map(self) -> bytes:
        """Return the depth map of a depth2img job as PNG, or b"" if there is none."""
        return self._depth_map

    def control_maps(self) -> tuple[bytes, ...]:
        """Return the preprocessed control pictures of the ControlNet units as PNG, in the order of the units."""
        return tuple(self._control_maps[index] for index in sorted(self._control_maps))

    def answered_images(self) -> tuple[GeneratedImage, ...]:
        """Return the images of an ended job; of one stopped before its first image, the unfinished one if it was kept."""
        with self._lock:
            return tuple(self._images) or self._unfinished

    def take_recording(self) -> Recording | None:
        """Return the recording of the first image and drop it: its hundred images take too much memory to keep."""
        recording, self._recording = self._recording, None
        return recording

    def interrupt(self) -> None:
        """Request the job to stop at its next step, or at once if it is still queued."""
        self.cancel.interrupt()
        self.on_interrupt()

    def skip(self) -> None:
        """Request the job to abort the running batch and continue with the next."""
        with self._lock:
            if self._state == "running":
                self.cancel.skip_batch()

    def stop_after_image(self) -> None:
        """Request the job to stop after the running batch."""
        self.cancel.stop_after_batch()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the job to end and return whether it has ended."""
        return self._ended.wait(timeout_s)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the job has ended, on the thread that ends it; at once if it has ended already."""
        self._ended.add_callback(callback)

    # Called by the engine and the device's thread.

    def finish(self, state: JobState, error: str = "", exception: WebUIError | None = None) -> None:
        """Set the job's final state; only the first call counts."""
        if not self._set_ended(state, error, exception):
            return
        try:
            self._store_event(lambda store: store.log_end(self.status()))
        finally:  # whoever waits must not wait for ever
            self._ended.set()

    def suspend(self, error: str) -> None:
        """End a queued job for this run alone: it stays in the store for the next start."""
        self.cancel.interrupt()
        if self._set_ended("cancelled", error, None):
            self._ended.set()

    def _store_event(self, write: Callable[[JobStore], object]) -> None:
        """Store an event of the job; an error costs the record, never the job."""
        if self._store is None:
            return
        try:
            write(self._store)
        except Exception:  # no error of the store may stop the queue
            logger.exception("A job could not be stored.")
            self.add_note(_NOT_STORED)

    def _set_ended(self, state: JobState, error: str, exception: WebUIError | None) -> bool:
        with self._lock:
            if self._state in ENDED_STATES:
                return False
            self._state = state
            self._phase = ""
            self._error = escape(error)
            self._exception = exception
            self.plan = self.plan.without_images()  # hundreds of ended jobs are kept in memory
            return True

    def receive(self, event: Event) -> None:
        """Receive an event of the run; of one that this version does not know, only note that there was one."""
        match event:
            case Phase(text):
                self._set_phase(text)
            case Progress():
                with self._lock:
                    self._progress = event
            case Preview(image):
                self._set_preview(image)
            case BatchStarted(index):
                self._start_batch(index)
            case Output():
                self._receive_output(event)
            case Note(text):
                self.add_note(text)
            case _:
                self.add_note(_UNKNOWN_EVENT.format(name=type(event).__name__))

    def add_note(self, text: str) -> None:
        """Add a note for the user; the same text only once."""
        text = escape(text)
        with self._lock:
            if text not in self._notes:
                self._notes.append(text)

    def _receive_output(self, output: Output) -> None:
        match output.kind:
            case "image":
                self._save_image(output)
            case "unfinished image":
                self._save_unfinished(output)
            case "depth map":
                self._depth_map = _encode(output.data, "PNG")
            case "control map":  # a later one is that of the hires pass
                self._control_maps.setdefault(output.index, _encode(output.data, "PNG"))
            case "recording":
                first = self._recording  # the second recording is that of the hires pass
                self._recording = replace(first, hires=output.data) if first else output.data
            case _:
                self.add_note(_UNKNOWN_EVENT.format(name=output.kind))

    def _save_image(self, output: Output) -> None:
        position = len(self._images)
        plan, announce = self._plan_of(output), partial(self._log_image, position)
        try:
            saved = self._save(plan, output.index, output.data, announce)
        except StorageError:  # nowhere: what was announced does not exist
            self._store_event(lambda store: store.forget_image(self.id, position))
            raise
        if saved is None:
            return
        with self._lock:
            self._images.append(saved)
        if saved.warning:
            self.add_note(saved.warning)

    def _plan_of(self, output: Output) -> JobPlan:
        """Return the plan for the infotext of an image."""
        plan = self.plan
        if not isinstance(plan, Plan):
            return plan
        plan = plan.for_image(output.index)
        plan = plan.without_refiner() if output.is_unrefined else plan
        settings, computed_by = plan.settings, output.accelerator or "PyTorch"
        if settings.accelerator != computed_by:  # the infotext names what has computed
            settings = settings.replace(accelerator=computed_by)
        return replace(plan, precision=output.precision, settings=settings)

    def _log_image(self, position: int, image: GeneratedImage) -> None:
        self._store_event(lambda store: store.log_image(self.id, position, image))

    def _save_unfinished(self, output: Output) -> None:
        """Save what there is of the first image, next to those that are shown unless the settings save incomplete ones."""
        plan = self._plan_of(output)
        settings = plan.settings
        is_saved = settings.samples_save and settings.save_incomplete_images
        plan = replace(plan, settings=settings.replace(samples_save=is_saved))
        # Not one of the job's images.
        unfinished = self._save(plan, 0, output.data, lambda _: None)
        with self._lock:
            self._unfinished = () if unfinished is None else (unfinished,)

    def _set_phase(self, text: str) -> None:
        with self._lock:
            if self._state in ENDED_STATES:
                return
            is_first = self._state == "queued"
            self._state = "running"
            self._phase = escape(text)
        if is_first:
            self._store_event(lambda store: store.log_start(self.id))

    def _start_batch(self, index: int) -> None:
        self.cancel.end_skip()
        if index and self.cancel.stops_after_batch():
            self.cancel.interrupt()

    def _set_preview(self, preview: Image.Image) -> None:
        scale = max(1, _PREVIEW_SIDE // max(preview.size))
        enlarged = preview.resize(
            (preview.width * scale, preview.height * scale), Image.Resampling.BICUBIC
        )
        enlarged.thumbnail((_MOST_PREVIEW_SIDE, _MOST_PREVIEW_SIDE))
        encoded = _encode(enlarged, "JPEG", quality=80)
        with self._lock:
            self._preview = encoded
            self._preview_number += 1
        self.cancel.delay_preview()


def _encode(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()
