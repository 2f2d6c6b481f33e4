"""Enlarges an image within a script: as a hidden cell that asks for what Extras do."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from PIL import Image

from modules.core.errors import UserError
from modules.images.save import read_image
from modules.infotext.pairs import scan_pairs, unquote
from modules.models.upscaling.upscalers import UPSCALERS
from modules.params.image import ImageField
from modules.params.requests.extras import ExtrasRequest
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


def upscale_request(image: ImageField, upscaler: str, scale: float) -> ExtrasRequest:
    """Return the request of an image enlarged by a factor, its sides multiples of 8."""
    return ExtrasRequest(image=image, upscaler_1=upscaler, upscaling_resize=scale)


def upscale(
    image: ImageField, upscaler: str, scale: float
) -> Generator[Sequence[Cell], Sequence[CellResult], tuple[Image.Image, str]]:
    """Return an enlarged image, and its upscaler as lists spell it; the upscaler None leaves the image as it is.

    Raises:
        UserError: it could not be enlarged.
    """
    if upscaler.casefold() == NO_UPSCALER.casefold():
        return image.to_pil(), NO_UPSCALER
    request = upscale_request(image, upscaler, scale)
    (result,) = yield [Cell("enlarging", lambda: request, is_shown=False)]
    if not result.images:
        raise UserError(result.error or "The picture was not enlarged.")
    (enlarged,) = result.images
    pairs = {pair.key: unquote(pair.value) for pair in scan_pairs(enlarged.infotext)}
    return read_image(enlarged.path), pairs.get("Postprocess upscaler", upscaler)
