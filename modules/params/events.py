"""What passes between a job and the device that runs it: events go up to a sink, a cancel token goes down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

# Previews are made only while a client has asked for the job recently.
_WATCH_TIMEOUT_S = 3.0

OutputKind = Literal["image", "unfinished image", "depth map", "control map", "recording"]


@dataclass(frozen=True)
class Phase:
    """The current activity, such as "Loading the checkpoint"; the first one marks the start of the run."""

    text: str


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


@dataclass(frozen=True)
class Preview:
    """An approximate image of the running batch."""

    image: Image.Image


@dataclass(frozen=True)
class BatchStarted:
    """A batch starts, counted from 0; a request to skip the previous one ends."""

    index: int


@dataclass(frozen=True)
class Output:
    """Something finished.

    Args:
        kind: "image" is one of the job's images, "unfinished image" what there is of one when the run is stopped before
            its first image, "depth map" that used by depth2img (white for near; not one of the
            job's images), "control map" the preprocessed control picture of a ControlNet unit, "recording" the Recording of each pass of the first image, if `Plan.record` is set.
        data: The image, the depth map, or the Recording.
        index: Of an image, over all batches; of a control map, that of the unit.
        is_unrefined: Of an image: whether its request names a refiner, and the run ended before that one's turn.
        precision: Of an image: the dtype that the UNet computed in, such as "bf16"; "" where the infotext needs no word
            of it.
        accelerator: Of an image: what computed the UNet instead of PyTorch, such as "OpenVINO".
    """

    kind: OutputKind
    data: Any  # its type depends on the kind
    index: int = 0
    is_unrefined: bool = False
    precision: str = ""
    accelerator: str = ""


@dataclass(frozen=True)
class Note:
    """A note for the user, such as on a retry at a higher precision."""

    text: str


Event = Phase | Progress | Preview | BatchStarted | Output | Note
# Receives the events of a run, on the device's thread; must be quick.
Sink = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Receive the events of work that nobody follows."""
    del event


class CancelToken:
    """Requests to a running job: stop, skip the batch, make previews for a watching client. Thread-safe."""

    def __init__(self) -> None:
        self._interrupted = threading.Event()
        self._batch_skipped = threading.Event()
        self._is_last_batch = threading.Event()
        self._unfinished_wanted = threading.Event()
        self._watched_at = float("-inf")
        self._preview_at = float("-inf")

    def interrupt(self) -> None:
        """Request the run to stop at its next step."""
        self._interrupted.set()

    def is_interrupted(self) -> bool:
        """Return whether the run should stop."""
        return self._interrupted.is_set()

    def skip_batch(self) -> None:
        """Request the run to end the running batch at its next step and continue with the next."""
        self._batch_skipped.set()

    def end_skip(self) -> None:
        """Note that the skipped batch has ended."""
        self._batch_skipped.clear()

    def is_batch_skipped(self) -> bool:
        """Return whether the running batch should end."""
        return self._batch_skipped.is_set()

    def stop_after_batch(self) -> None:
        """Request the run to begin no further batch."""
        self._is_last_batch.set()

    def stops_after_batch(self) -> bool:
        """Return whether no further batch should begin."""
        return self._is_last_batch.is_set()

    def want_unfinished(self) -> None:
        """Note that a client needs an image even if the run is stopped before its first one is finished."""
        self._unfinished_wanted.set()

    def wants_unfinished(self) -> bool:
        """Return whether to decode an unfinished image when the run is stopped."""
        return self._unfinished_wanted.is_set()

    def watch(self) -> None:
        """Note that a client is watching, so that previews are worth making."""
        self._watched_at = time.monotonic()

    def delay_preview(self) -> None:
        """Note that a preview was made; the next one is made a little later."""
        self._preview_at = time.monotonic()

    def wants_preview(self, pause_s: float = 0.0) -> bool:
        """Return whether to make a preview now: a client is watching, and the last preview is so many seconds old."""
        now = time.monotonic()
        is_watched = now - self._watched_at < _WATCH_TIMEOUT_S
        return is_watched and now - self._preview_at >= pause_s
