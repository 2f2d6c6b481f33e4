"""Enlarges an image within a script."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from PIL import Image
from PIL.Image import Resampling

from modules.core.errors import UserError
from modules.images.upscale import enlarge_by_filter, upscale_by
from modules.models.upscalers import UPSCALERS
from modules.scripts.protocol import Cell, CellResult

NO_UPSCALER = "None"


def find_upscaler_name(value: Any) -> Any:  # JSON: anything
    """Return the name of an upscaler that A1111's clients give by its number; anything else as it is.

    Raises:
        UserError: the number is that of a model file, whose order depends on the folder.
    """
    names = [row.name for row in UPSCALERS if not row.is_latent]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 0 <= value < len(names):
        raise UserError(
            f"The upscaler number {value} may be any file: only 0 to {len(names) - 1} are fixed.",
            "Give its name.",
        )
    return names[value]


def upscale(
    image: Image.Image, upscaler: str, scale: float
) -> Generator[Sequence[Cell], Sequence[CellResult], Image.Image]:
    """Return an image enlarged by a factor, its sides multiples of 8; the upscaler None leaves it as it is."""
    if upscaler == NO_UPSCALER:
        return image
    method = UPSCALERS.get(upscaler).method
    assert isinstance(method, Resampling)
    return upscale_by(image, scale, enlarge_by_filter(method))
    yield ()
