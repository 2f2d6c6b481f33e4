"""A snapshot of a job, as the page and the API read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modules.core.errors import WebUIError
from modules.params.events import Progress
from modules.params.results import GeneratedImage

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
