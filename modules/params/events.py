"""What a running job reports: progress, previews, results, notes. The backend calls, the engine implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from modules.params.results import Recording


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Args:
        step: Steps done, over all batches.
        steps: Steps of all batches.
        steps_per_second: Speed of the running batch; 0 until it is known.
    """

    step: int
    steps: int
    steps_per_second: float = 0.0

    @property
    def fraction(self) -> float:
        """Return the fraction done, 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0

    @property
    def eta_s(self) -> float | None:
        """Return the remaining seconds, or None while the speed is not known."""
        if self.steps_per_second <= 0:
            return None
        return max(0, self.steps - self.step) / self.steps_per_second


class Listener(Protocol):
    """Receives the events of a job. Called on the device's thread; must be quick."""

    def on_phase(self, text: str) -> None:
        """Receive the current phase, such as "Loading the checkpoint"."""
        ...

    def on_progress(self, progress: Progress) -> None:
        """Receive the number of steps done."""
        ...

    def wants_preview(self) -> bool:
        """Return whether to make a preview now: a client is watching and the last preview is old enough."""
        ...

    def on_preview(self, preview: Image.Image) -> None:
        """Receive an approximate image of the running batch."""
        ...

    def on_image(self, index: int, image: Image.Image) -> None:
        """Receive a finished image; `index` counts over all batches."""
        ...

    def on_depth_map(self, depth: Image.Image) -> None:
        """Receive the depth map used by depth2img, white for near; it is not one of the job's images."""
        ...

    def on_recording(self, recording: Recording) -> None:
        """Receive the recording of the first image, if `Plan.record` is set."""
        ...

    def on_note(self, text: str) -> None:
        """Receive a note for the user, such as on a retry at a higher precision."""
        ...

    def on_batch(self, index: int) -> None:
        """Receive the start of a batch, counted from 0; a request to skip the previous one ends."""
        ...

    def is_skipped(self) -> bool:
        """Return whether to end the running batch now and go on with the next."""
        ...

    def is_interrupted(self) -> bool:
        """Return whether to stop the job now."""
        ...
