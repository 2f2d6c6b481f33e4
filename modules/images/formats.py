"""A picture as the bytes of a file: PNG, JPEG or WebP, with its infotext."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from PIL import Image

from modules.images.metadata import make_exif_bytes, make_png_info
from modules.params.settings.saving import ImageFormat, SavingSettings


@dataclass(frozen=True)
class FileFormat:
    """One row of FILE_FORMATS.

    Args:
        write: Writes picture and infotext into a file.
        max_side: Of the pictures that the format can hold.
    """

    write: Callable[[IO[bytes], Image.Image, str, SavingSettings], None]
    max_side: int


def _png(file: IO[bytes], image: Image.Image, text: str, settings: SavingSettings) -> None:
    del settings
    image.save(file, format="PNG", pnginfo=make_png_info(text) if text else None)


def _jpeg(file: IO[bytes], image: Image.Image, text: str, settings: SavingSettings) -> None:
    exif = make_exif_bytes(text) if text else b""
    image.convert("RGB").save(file, format="JPEG", quality=settings.jpeg_quality, exif=exif)


def _webp(file: IO[bytes], image: Image.Image, text: str, settings: SavingSettings) -> None:
    image.save(
        file,
        format="WEBP",
        quality=settings.jpeg_quality,
        lossless=settings.webp_lossless,
        exif=make_exif_bytes(text) if text else b"",
    )


FILE_FORMATS: Mapping[ImageFormat, FileFormat] = {
    "png": FileFormat(_png, 2**31 - 1),
    "jpg": FileFormat(_jpeg, 65535),
    "webp": FileFormat(_webp, 16383),
}
_LONGEST_EXIF = 65000  # bytes; a JPEG's EXIF block has 16 bits for its length


def choose_format(requested: ImageFormat, image: Image.Image, text: str) -> ImageFormat:
    """Return the format asked for, or "png" where that cannot hold the picture or its text."""
    too_long = requested == "jpg" and 2 * len(text) > _LONGEST_EXIF
    if too_long or max(image.size) > FILE_FORMATS[requested].max_side:
        return "png"
    return requested
