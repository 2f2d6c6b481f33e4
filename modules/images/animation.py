"""Pictures one after another as a file: GIF and WebP by Pillow, MP4 by ffmpeg where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from modules.core.errors import StorageError, UserError

_FRAME_MS = 120
_LAST_MS = 1500  # the finished picture stays a while
_FFMPEG_TIMEOUT_S = 120


@dataclass(frozen=True)
class AnimationFormat:
    """One row of ANIMATION_FORMATS.

    Args:
        name: What the page shows.
        suffix: Of the file.
        write: From frames of one size to a file that must not exist yet.
        is_available: Whether this machine can write it.
    """

    name: str
    suffix: str
    write: Callable[[Sequence[Image.Image], Path], None]
    is_available: Callable[[], bool] = lambda: True


def _gif(frames: Sequence[Image.Image], path: Path) -> None:
    _pillow(frames, path, optimize=False)


def _webp(frames: Sequence[Image.Image], path: Path) -> None:
    _pillow(frames, path, quality=90, method=4)


def _pillow(
    frames: Sequence[Image.Image], path: Path, **options: Any
) -> None:  # of Pillow's writers
    durations = [_FRAME_MS] * (len(frames) - 1) + [_LAST_MS]
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _mp4(frames: Sequence[Image.Image], path: Path) -> None:
    """Hand raw frames to ffmpeg; the last one is repeated, as a film has no durations."""
    width, height = frames[0].size
    repeated = [*frames, *[frames[-1]] * (_LAST_MS // _FRAME_MS)]
    command = [
        "ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-r", str(1000 // _FRAME_MS), "-i", "-",
        "-an", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    raw = b"".join(frame.convert("RGB").tobytes() for frame in repeated)
    try:
        subprocess.run(
            command, input=raw, check=True, capture_output=True, timeout=_FFMPEG_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StorageError(
            f"ffmpeg could not write the film: {error}.", "Save it as GIF or WebP."
        ) from error


def _has_ffmpeg() -> bool:
    return shutil.which("ffmpeg") is not None


ANIMATION_FORMATS = (
    AnimationFormat("WebP", "webp", _webp),
    AnimationFormat("GIF", "gif", _gif),
    AnimationFormat("MP4", "mp4", _mp4, _has_ffmpeg),
)


def available_formats() -> list[str]:
    """Return the names of the formats that this machine can write."""
    return [row.name for row in ANIMATION_FORMATS if row.is_available()]


def write_animation(frames: Sequence[Image.Image], name: str, stem: Path) -> Path:
    """Write the frames and return the file's path.

    Args:
        frames: One or more, of one size.
        name: Of the format, as in ANIMATION_FORMATS.
        stem: The path without its suffix; its folder exists.

    Raises:
        UserError: there is no such format here, or nothing to write.
        StorageError: ffmpeg failed.
    """
    row = next((row for row in ANIMATION_FORMATS if row.name == name and row.is_available()), None)
    if row is None:
        raise UserError(
            f"This machine writes no '{name}'.", f"Choose {' or '.join(available_formats())}."
        )
    if not frames:
        raise UserError("There is nothing to save yet.", "Press Show first.")
    path = stem.with_suffix(f".{row.suffix}")
    row.write(frames, path)
    return path
