"""A snapshot of a job, as the page and the API read it, and the end that others wait for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modules.core.errors import WebUIError
from modules.params.events import Progress
from modules.params.results import GeneratedImage

logger = logging.getLogger(__name__)

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED_STATES: tuple[JobState, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class JobStatus:
    """A snapshot of a job.

    Args:
        id: The job's id, impossible to guess.
        state: Its lifecycle state.
        phase: The current activity, as text.
        progress: Steps done and their speed.
        images: Finished images in order.
        image_count: The number of requested images.
        notes: Notes on the result for the user.
        error: One sentence if it failed or was cancelled.
        exception: The exception if it failed for a reason that the user can act on.
        preview_number: Increases with each new preview; 0 if there is none.
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
        """Return whether the job has reached a final state."""
        return self.state in ENDED_STATES

    @property
    def finished_text(self) -> str:
        """Return how many images are finished, such as "1 of 2 pictures"; "" of a job that makes none."""
        return f"{len(self.images)} of {self.image_count} pictures" if self.image_count else ""

    @property
    def interrupted_text(self) -> str:
        """Return the sentence on its interruption."""
        finished = self.finished_text
        return f"Interrupted: {finished} were finished." if finished else "Interrupted."


class Completion:
    """The end of a job or a group of jobs, for those who wait for it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._callbacks: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """Return whether the end has come."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the end and return whether it has come."""
        return self._event.wait(timeout_s)

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` at the end, on the thread that calls `set`; at once if it has come already."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def set(self) -> None:
        """Let the end come."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            notify(callback)


def notify(listener: Callable[[], object]) -> None:
    """Call a listener; its error is only logged, so that the other ones are called and the next job runs."""
    try:
        listener()
    except Exception:
        logger.exception("An unexpected error in what waited for the end of a job.")
