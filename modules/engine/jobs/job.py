"""One job: what was asked, how far it has come, what came of it."""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from modules.core.errors import WebUIError
from modules.params.events import Progress
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage, Recording
from modules.plan.plan import Plan

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
SaveImage = Callable[[Plan, int, Image.Image], GeneratedImage]  # saves one finished picture
ENDED_STATES: tuple[JobState, ...] = ("done", "failed", "cancelled")

# A preview is made at most twice a second, and only while someone has asked for the job lately.
_PREVIEW_INTERVAL_S = 0.5
_WATCHER_LASTS_S = 3.0
_PREVIEW_SIDE = 512


@dataclass(frozen=True)
class JobStatus:
    """What can be told of a job at one moment.

    Args:
        id: The job's name, not to be guessed.
        state: Where it is in its life.
        phase: What is being done, in words.
        progress: Steps done and their speed.
        images: Finished pictures in order.
        image_count: How many pictures were asked for.
        notes: What a user should know of the result.
        error: One sentence when it failed or was cancelled.
        exception: The error itself when it failed for a reason that the user can act on.
        preview_number: Rises with each new preview; 0 when there is none.
    """

    id: str
    state: JobState
    phase: str
    progress: Progress
    images: tuple[GeneratedImage, ...]
    image_count: int
    notes: tuple[str, ...]
    error: str
    exception: WebUIError | None
    preview_number: int

    @property
    def has_ended(self) -> bool:
        """Return whether nothing more will happen."""
        return self.state in ENDED_STATES


class JobLog(Protocol):
    """Whoever writes down what becomes of jobs."""

    def log_start(self, job_id: str) -> None:
        """Note that the device has begun."""
        ...

    def log_image(self, job_id: str, position: int, image: GeneratedImage) -> None:
        """Note a finished picture and its place among them."""
        ...

    def log_end(self, status: JobStatus) -> None:
        """Note how a job ended."""
        ...


class Job:
    """A plan on its way, and the Listener of its run.

    Thread-safe: the device's thread writes, the page and the API read.

    Args:
        plan: What to do.
        save: Saves one finished picture and returns what is known of it.
        log: Is told what becomes of the job.
        job_id: The name of a job that is known from before; else a new one is made up.
    """

    def __init__(
        self,
        plan: Plan,
        save: SaveImage,
        log: JobLog | None = None,
        job_id: str = "",
    ) -> None:
        self.id = job_id or secrets.token_urlsafe(16)
        self.plan = plan
        self.grid_path: Path | None = None  # all its pictures in one
        self.on_interrupt: Callable[[], object] = lambda: None
        self._save = save
        self._log = log
        self._last_indices = {batch[-1].index for batch in plan.batches[:-1]}
        self._lock = threading.Lock()
        self._interrupted = threading.Event()
        self._skipped = threading.Event()
        self._is_last_batch = False
        self._ended = threading.Event()
        self._done_callbacks: list[Callable[[], object]] = []
        self._state: JobState = "queued"
        self._phase = "Waiting"
        self._progress = Progress(0, 0)
        self._images: list[GeneratedImage] = []
        self._notes: list[str] = []
        self._error = ""
        self._exception: WebUIError | None = None
        self._preview = b""
        self._depth_map = b""
        self._recording: Recording | None = None
        self._preview_number = 0
        self._last_preview_at = 0.0
        self._last_watched_at = 0.0

    @property
    def request(self) -> GenerationRequest:
        """Return what was asked; once it has ended, without its pictures."""
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
                len(self.plan.images),
                tuple(self._notes),
                self._error,
                self._exception,
                self._preview_number,
            )

    def watch(self) -> None:
        """Say that someone is looking, so that previews are worth making."""
        self._last_watched_at = time.monotonic()

    def preview(self) -> bytes:
        """Return the latest preview as JPEG, or nothing."""
        return self._preview

    def depth_map(self) -> bytes:
        """Return the depth by which a picture was repainted as PNG, or nothing."""
        return self._depth_map

    def take_recording(self) -> Recording | None:
        """Return how the first picture came to be and let go of it: a hundred pictures are too much to remember."""
        recording, self._recording = self._recording, None
        return recording

    def interrupt(self) -> None:
        """Ask the job to stop at its next step, or at once when it still waits."""
        self._interrupted.set()
        self.on_interrupt()

    def skip(self) -> None:
        """Ask the job to leave the batch that is being made and go on with the next."""
        with self._lock:
            if self._state == "running":
                self._skipped.set()

    def stop_after_image(self) -> None:
        """Ask the job to stop when the pictures it is at are finished."""
        self._is_last_batch = True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return whether the job has ended, waiting for it at most so long."""
        return self._ended.wait(timeout_s)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call back once the job has ended, on whichever thread ends it; at once when it has."""
        with self._lock:
            if not self._ended.is_set():
                self._done_callbacks.append(callback)
                return
        callback()

    # What the engine and the device's thread report.

    def finish(self, state: JobState, error: str = "", exception: WebUIError | None = None) -> None:
        """Note how the job ended; the first word counts."""
        if not self._set_ended(state, error, exception):
            return
        if self._log is not None:
            self._log.log_end(self.status())
        self._notify_done()

    def suspend(self, error: str) -> None:
        """End a waiting job for this run alone: the log keeps it for the next start."""
        self._interrupted.set()
        if self._set_ended("cancelled", error, None):
            self._notify_done()

    def _notify_done(self) -> None:
        with self._lock:
            self._ended.set()
            waiting, self._done_callbacks = self._done_callbacks, []
        for callback in waiting:
            callback()

    def _set_ended(self, state: JobState, error: str, exception: WebUIError | None) -> bool:
        with self._lock:
            if self._state in ENDED_STATES:
                return False
            self._state = state
            self._phase = ""
            self._error = error
            self._exception = exception
            self.plan = self.plan.without_images()  # hundreds of ended jobs are remembered
            return True

    def on_image(self, index: int, image: Image.Image) -> None:
        """Save a finished picture at once."""
        kept = self._save(self.plan, index, image)
        with self._lock:
            position = len(self._images)
            self._images.append(kept)
            if kept.warning and kept.warning not in self._notes:
                self._notes.append(kept.warning)
        if self._log is not None:
            self._log.log_image(self.id, position, kept)
        if self._is_last_batch and index in self._last_indices:
            self._interrupted.set()

    def on_phase(self, text: str) -> None:
        """Note what is being done; the first phase is the beginning of the run."""
        with self._lock:
            if self._state in ENDED_STATES:
                return
            begins = self._state == "queued"
            self._state = "running"
            self._phase = text
        if begins and self._log is not None:
            self._log.log_start(self.id)

    def on_batch(self, index: int) -> None:
        """Note that a batch begins: the wish to skip was for the one before."""
        self._skipped.clear()
        if index and self._is_last_batch:
            self._interrupted.set()

    def on_progress(self, progress: Progress) -> None:
        """Note the steps done."""
        with self._lock:
            self._progress = progress

    def on_depth_map(self, depth: Image.Image) -> None:
        """Keep the depth by which a picture is repainted."""
        buffer = io.BytesIO()
        depth.save(buffer, format="PNG")
        self._depth_map = buffer.getvalue()

    def on_recording(self, recording: Recording) -> None:
        """Keep how the first picture came to be until it is taken."""
        self._recording = recording

    def on_note(self, text: str) -> None:
        """Note something a user should know; the same words only once."""
        with self._lock:
            if text not in self._notes:
                self._notes.append(text)

    def is_skipped(self) -> bool:
        """Return whether the running batch should end."""
        return self._skipped.is_set()

    def is_interrupted(self) -> bool:
        """Return whether the job should stop."""
        return self._interrupted.is_set()

    def wants_preview(self) -> bool:
        """Return whether someone watches and the last preview is old enough."""
        now = time.monotonic()
        watched = now - self._last_watched_at < _WATCHER_LASTS_S
        return watched and now - self._last_preview_at >= _PREVIEW_INTERVAL_S

    def on_preview(self, preview: Image.Image) -> None:
        """Keep a preview, enlarged to be looked at."""
        factor = max(1, _PREVIEW_SIDE // max(preview.size))
        large = preview.resize(
            (preview.width * factor, preview.height * factor), Image.Resampling.BICUBIC
        )
        buffer = io.BytesIO()
        large.save(buffer, format="JPEG", quality=80)
        with self._lock:
            self._preview = buffer.getvalue()
            self._preview_number += 1
            self._last_preview_at = time.monotonic()
