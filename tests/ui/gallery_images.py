"""Writes small images as this program saves them, for the gallery."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image, ImageDraw

from modules.images.metadata import make_png_info

_ANIMALS = ("cat", "dog", "fox", "owl", "bee")
_SAMPLERS = ("Euler a", "DPM++ 2M", "DDIM")
_FIRST_S = 1_760_000_000


def write_images(folder: Path, count: int, side: int = 64) -> list[Path]:
    """Write images of one a minute into folders of days, and return their paths, oldest first."""
    paths: list[Path] = []
    for number in range(count):
        day = folder / "txt2img-images" / f"2025-10-{1 + number * 28 // count:02d}"
        day.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (side, side), (number * 37 % 256, number * 91 % 256, 120))
        ImageDraw.Draw(image).ellipse((side // 4, side // 4, side // 2, side // 2), "white")
        text = (
            f"a {_ANIMALS[number % 5]} in a garden, number {number}\nNegative prompt: blurry\n"
            f"Steps: {10 + number % 3}, Sampler: {_SAMPLERS[number % 3]}, CFG scale: 7, Seed: {number},"
            f" Size: {side}x{side}, Model: dream"
        )
        path = day / f"{number:05d}-{number}.png"
        image.save(path, pnginfo=make_png_info(text), compress_level=1)
        os.utime(path, (_FIRST_S + number * 60,) * 2)
        paths.append(path)
    return paths
