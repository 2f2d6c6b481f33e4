"""Writes animations: GIF and WebP with Pillow, MP4 with ffmpeg where it is installed."""

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
_LAST_FRAME_MS = 1500  # the finished image is shown longer
_FFMPEG_TIMEOUT_S = 120


@dataclass(frozen=True)
class AnimationFormat:
    """One row of ANIMATION_FORMATS.

    Args:
        name: Label on the page.
        suffix: File extension without the dot.
        write: Writes frames of one size into a file that must not exist yet.
        is_available: Returns whether this machine can write the format.
    """

    name: str
    suffix: str
    write: Callable[[Sequence[Image.Image], Path], None]
    is_available: Callable[[], bool] = lambda: True


def _write_gif(frames: Sequence[Image.Image], path: Path) -> None:
    _write_with_pillow(frames, path, optimize=False)


def _write_webp(frames: Sequence[Image.Image], path: Path) -> None:
    _write_with_pillow(frames, path, quality=90, method=4)


def _write_with_pillow(
    frames: Sequence[Image.Image], path: Path, **options: Any
) -> None:  # options of Pillow's writers
    durations = [_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS]
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _write_mp4(frames: Sequence[Image.Image], path: Path) -> None:
    """Pipe raw frames to ffmpeg; the last frame is repeated, since MP4 frames have no durations."""
    width, height = frames[0].size
    repeated = [*frames, *[frames[-1]] * (_LAST_FRAME_MS // _FRAME_MS)]
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
            f"ffmpeg could not write the video: {error}.", "Save it as GIF or WebP."
        ) from error


def _has_ffmpeg() -> bool:
    return shutil.which("ffmpeg") is not None


ANIMATION_FORMATS = (
    AnimationFormat("WebP", "webp", _write_webp),
    AnimationFormat("GIF", "gif", _write_gif),
    AnimationFormat("MP4", "mp4", _write_mp4, _has_ffmpeg),
)


def available_formats() -> list[str]:
    """Return the names of the formats that this machine can write."""
    return [row.name for row in ANIMATION_FORMATS if row.is_available()]


def write_animation(frames: Sequence[Image.Image], name: str, stem: Path) -> Path:
    """Write the frames and return the file's path.

    Args:
        frames: All of one size.
        name: Format name, as in ANIMATION_FORMATS.
        stem: The path without its suffix; its folder exists.

    Raises:
        UserError: the format is unknown or not available on this machine, or there are no frames.
        StorageError: ffmpeg failed.
    """
    row = next((row for row in ANIMATION_FORMATS if row.name == name and row.is_available()), None)
    if row is None:
        raise UserError(
            f"This machine cannot write '{name}'.", f"Choose {' or '.join(available_formats())}."
        )
    if not frames:
        raise UserError("There is nothing to save yet.", "Press Show first.")
    path = stem.with_suffix(f".{row.suffix}")
    row.write(frames, path)
    return path
