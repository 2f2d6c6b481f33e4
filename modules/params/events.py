"""What a job answers, and how it is told while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from modules.params.results import Recording


@dataclass(frozen=True)
class Progress:
    """How far a job has come.

    Args:
        step: Steps done over all batches.
        steps: Steps of all batches.
        steps_per_second: Speed of the running batch; 0 until it is known.
    """

    step: int
    steps: int
    steps_per_second: float = 0.0

    @property
    def fraction(self) -> float:
        """Return the share done, 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0

    @property
    def eta_s(self) -> float | None:
        """Return the seconds left, or None while the speed is not known."""
        if self.steps_per_second <= 0:
            return None
        return max(0, self.steps - self.step) / self.steps_per_second


class Listener(Protocol):
    """Whoever follows a job. Called on the device's thread; must be quick."""

    def on_phase(self, text: str) -> None:
        """Tell what is being done, such as "Loading the checkpoint"."""
        ...

    def on_progress(self, progress: Progress) -> None:
        """Tell how many steps are done."""
        ...

    def wants_preview(self) -> bool:
        """Return whether a preview is welcome now: someone watches and the last one is old enough."""
        ...

    def on_preview(self, preview: Image.Image) -> None:
        """Hand over an approximate picture of the running batch."""
        ...

    def on_image(self, index: int, image: Image.Image) -> None:
        """Hand over a finished picture; `index` counts over all batches."""
        ...

    def on_depth_map(self, depth: Image.Image) -> None:
        """Hand over the depth by which a picture is repainted, white for near; none of the job's pictures."""
        ...

    def on_recording(self, recording: Recording) -> None:
        """Hand over how the first picture came to be, for a plan that asks for it."""
        ...

    def on_note(self, text: str) -> None:
        """Tell what a user should know of the result, such as a retry at a higher precision."""
        ...

    def on_batch(self, index: int) -> None:
        """Tell that a batch begins, counted from 0: a wish to skip the one before is over."""
        ...

    def is_skipped(self) -> bool:
        """Return whether the running batch should end now and the next one begin."""
        ...

    def is_interrupted(self) -> bool:
        """Return whether the job should stop now."""
        ...
