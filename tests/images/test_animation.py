from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.images.animation import available_formats, write_animation

FRAMES = [Image.new("RGB", (32, 16), colour) for colour in ("black", "red", "white")]


@pytest.mark.parametrize("name", ["GIF", "WebP"])
def test_every_frame_is_in_the_file_and_the_last_one_is_shown_longest(tmp_path: Path, name: str):
    path = write_animation(FRAMES, name, tmp_path / "video")
    assert path.name == f"video.{name.lower()}"
    durations: list[int] = []
    with Image.open(path) as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((32, 16), 3, 0)
        for index in range(3):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
            shown = image.convert("RGB").getpixel((16, 8))
            expected = FRAMES[index].getpixel((16, 8))
            assert max(abs(a - b) for a, b in zip(shown, expected, strict=True)) < 8
    assert durations[-1] == max(durations) > durations[0]


def test_mp4_is_offered_only_if_ffmpeg_is_installed(tmp_path: Path):
    assert ("MP4" in available_formats()) == (shutil.which("ffmpeg") is not None)
    if "MP4" in available_formats():
        assert write_animation(FRAMES, "MP4", tmp_path / "video").stat().st_size > 0
    else:
        with pytest.raises(UserError, match="cannot write 'MP4'"):
            write_animation(FRAMES, "MP4", tmp_path / "video")


def test_without_frames_there_is_nothing_to_save(tmp_path: Path):
    with pytest.raises(UserError, match="nothing to save"):
        write_animation([], "GIF", tmp_path / "video")
    assert list(tmp_path.iterdir()) == []
