"""The frames of a recorded run on disk: the page shows them by path, one step at a time.

They are deleted when another run replaces them, when Gradio deletes the state of their session (an hour
after its page was closed, or a day after they were written), and at the next start. Gradio's `delete_cache` does not
fit: it deletes uploads too, which a form shows again after a restart.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modules.images.animation import write_animation
from modules.params.results import RecordedStep, Recording

_FOLDER = "diffusion-process"
_QUALITY = 92
LIFETIME_S = 24 * 3600
# Image attributes of a RecordedStep in the page's order, and their labels.
VIEWS = {
    "x": "x: the sample",
    "denoised": "x̂₀: the predicted picture",
    "noise": "ε̂: the predicted noise",
    "difference": "prompt against negative prompt",
}
ANIMATED_VIEWS = {"predicted picture": "denoised", "sample": "x"}


@dataclass(frozen=True)
class Frames:
    """The frames of one run.

    Args:
        folder: Folder of this run only.
        captions: One caption per step.
    """

    folder: Path
    captions: tuple[str, ...]

    @property
    def count(self) -> int:
        """Return the number of steps."""
        return len(self.captions)

    def path(self, index: int, view: str) -> str | None:
        """Return the path of a step's image, counted from 0; None if the run has none."""
        path = self.folder / f"{index:03d}-{view}.webp"
        return str(path) if path.exists() else None

    def save_animation(self, view: str, format: str) -> Path:
        """Write the run as an animation and return its path.

        Raises:
            UserError: this machine cannot write the format.
            StorageError: the file could not be written.
        """
        paths = [self.path(index, view) for index in range(self.count)]
        frames: list[Image.Image] = []
        for path in paths:
            if path is not None:
                with Image.open(path) as image:
                    frames.append(image.convert("RGB"))
        return write_animation(frames, format, self.folder / f"diffusion-{view}")


def save_frames(recording: Recording, temp: Path) -> Frames:
    """Write a recording's frames into a new folder below the temporary folder."""
    delete_older(temp, LIFETIME_S)
    folder = temp / _FOLDER / secrets.token_urlsafe(8)
    folder.mkdir(parents=True)
    try:
        for index, step in enumerate(recording.steps):
            for view in VIEWS:
                image: Image.Image | None = getattr(step, view)
                if image is not None:
                    image.save(folder / f"{index:03d}-{view}.webp", quality=_QUALITY)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Frames(folder, tuple(_caption(step) for step in recording.steps))


def delete_frames(frames: Frames | None) -> None:
    """Delete the frames of a run that is no longer shown."""
    if frames is not None:
        shutil.rmtree(frames.folder, ignore_errors=True)


def delete_older(temp: Path, age_s: float) -> None:
    """Delete the runs below the temporary folder that are older than this age; 0 deletes all.

    Some of them belong to no state: those of a stopped server, and the earlier of two runs that one session
    started at the same time.
    """
    oldest = time.time() - age_s
    for folder in (temp / _FOLDER).glob("*/"):
        with contextlib.suppress(OSError):  # another thread was first
            if not age_s or folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def _caption(step: RecordedStep) -> str:
    return f"Evaluation {step.index + 1}: sigma {step.sigma:.3f}, timestep {step.timestep:.0f}"
