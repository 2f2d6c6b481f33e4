"""Encodes an image with its infotext as PNG, JPEG or WebP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from PIL import Image

from modules.images.metadata import FileText, make_exif_bytes, make_png_info
from modules.params.settings.saving import SavingSettings


@dataclass(frozen=True)
class FileFormat:
    """One row of FILE_FORMATS.

    Args:
        write: Writes image and texts into a file.
        max_side: The format's largest width and height.
    """

    write: Callable[[IO[bytes], Image.Image, FileText, SavingSettings], None]
    max_side: int


def _write_png(
    file: IO[bytes], image: Image.Image, text: FileText, settings: SavingSettings
) -> None:
    del settings
    image.save(
        file, format="PNG", pnginfo=make_png_info(text.infotext, text.chunks) if text else None
    )


def _write_jpeg(
    file: IO[bytes], image: Image.Image, text: FileText, settings: SavingSettings
) -> None:
    exif = make_exif_bytes(text.infotext) if text else b""
    image.convert("RGB").save(file, format="JPEG", quality=settings.jpeg_quality, exif=exif)


def _write_webp(
    file: IO[bytes], image: Image.Image, text: FileText, settings: SavingSettings
) -> None:
    image.save(
        file,
        format="WEBP",
        quality=settings.jpeg_quality,
        lossless=settings.webp_lossless,
        exif=make_exif_bytes(text.infotext) if text else b"",
    )


FILE_FORMATS: Mapping[str, FileFormat] = {
    "png": FileFormat(_write_png, 2**31 - 1),
    "jpg": FileFormat(_write_jpeg, 65535),
    "webp": FileFormat(_write_webp, 16383),
}
_MAX_EXIF_BYTES = 65000  # a JPEG's EXIF block has 16 bits for its length


def choose_format(
    requested: str,
    image: Image.Image,
    text: str,
    file_formats: Mapping[str, FileFormat] = FILE_FORMATS,
) -> str:
    """Return the requested format, or "png" if that cannot hold the image or its infotext."""
    is_too_long = requested == "jpg" and 2 * len(text) > _MAX_EXIF_BYTES
    if is_too_long or max(image.size) > file_formats[requested].max_side:
        return "png"
    return requested
