"""Opens image files safely: limits their format and size, and says what is wrong with a bad one."""

from __future__ import annotations

import binascii
import importlib
import io
import re
import string
import struct
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from PIL import Image

from modules.core.errors import UserError
from modules.params.image_blocks import check_blocks, check_scans
from modules.params.image_tags import check_tags

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_FILE_BYTES = 64 * 2**20  # the page's upload limit
MAX_ENCODED_LENGTH = MAX_FILE_BYTES * 11 // 8  # in base64, with new lines
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_SPACES = dict.fromkeys(map(ord, string.whitespace))
# Size of the largest image that can be generated. A few kilobytes can unpack to any number of pixels.
_MAX_SIDE = 8192  # of a square one; a picture may be longer and narrower
MAX_PIXELS = _MAX_SIDE * _MAX_SIDE
# ISO/IEC 23008-12: the brand after "ftyp" distinguishes HEIC from AVIF, which has the same container.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# What Pillow raises for damage, by format and place.
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)
CountPixels = Callable[[int], None]
# Called with the number of an image's pixels before they are decoded; whoever serves a request sets it for that request.
COUNT_PIXELS: ContextVar[CountPixels | None] = ContextVar("count_pixels", default=None)


def open_image(data: bytes) -> Image.Image:
    """Return the image in the bytes of a file, of an animation the first frame, with its pixels loaded.

    Raises:
        UserError: the file is empty, too large, damaged, in another format, or has too many pixels.
        Busy: other requests have too many pixels in memory.
    """
    if not data:
        raise UserError("The picture's file is empty.", "Save or upload it again.")
    if len(data) > MAX_FILE_BYTES:
        raise _file_too_large()
    check_blocks(data)
    try:
        image = _open_heic(data) or Image.open(io.BytesIO(data), formats=READABLE_FORMATS)
        width, height = image.size  # from the header; nothing is decoded yet
        if width * height > MAX_PIXELS:
            raise _too_large(f"is {width}x{height}")
        check_scans(data, width * height)
        for name in ("exif", "Raw profile type exif"):
            _check_exif(image.info.get(name))
        count_pixels = COUNT_PIXELS.get()
        if count_pixels is not None:
            count_pixels(width * height)
        image.load()
        return image
    except Image.UnidentifiedImageError:
        raise UserError(
            f"The picture is not a {', '.join(READABLE_FORMATS[:-1])} or {READABLE_FORMATS[-1]} file."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("is far larger than that") from None
    except DAMAGE_ERRORS as error:
        raise UserError(f"The picture is damaged: {error}.", "Save it again.") from error


def decode_base64(text: str) -> bytes:
    """Return the file in base64, with or without the prefix "data:image/png;base64,".

    Raises:
        UserError: the text is a URL or not base64.
    """
    if text.startswith(("http://", "https://")):
        raise UserError(
            "The picture is a URL, and the server fetches none.",
            "Send it in base64, or turn on the option api_enable_requests.",
        )
    encoded = text[text.find(",") + 1 :] if text.startswith("data:") else text  # may be a copy
    if len(encoded) > MAX_ENCODED_LENGTH:
        raise _file_too_large()
    if encoded.isascii() and not _BASE64.fullmatch(encoded):
        encoded = encoded.translate(_SPACES)
    try:
        if not _BASE64.fullmatch(encoded):
            raise ValueError
        return binascii.a2b_base64(encoded)  # unlike base64.b64decode, without a copy of the text
    except ValueError:
        raise UserError("The picture is not base64.") from None


def _check_exif(exif: object) -> None:
    """Check EXIF data as Pillow has them: bytes, or the hexadecimal digits behind the first lines of a PNG's text.

    Raises:
        UserError: reading them would take long.
    """
    if isinstance(exif, str):
        try:
            exif = bytes.fromhex("".join(exif.split("\n")[3:]))
        except ValueError:
            return  # Pillow cannot read them either
    if isinstance(exif, bytes):
        check_tags(exif)


def _open_heic(data: bytes) -> Image.Image | None:
    """Return a HEIC image by Pillow's plugin, upright; None for any other format."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIC_BRANDS or b"avif" in data[8:64]:
        return None
    try:
        plugin: Any = importlib.import_module("pillow_heif")  # not among the requirements
    except ImportError:
        raise UserError(
            "The picture is a HEIC file, and Pillow's plugin for it, pillow-heif, is not installed.",
            "Save the picture as JPEG or PNG.",
        ) from None
    return plugin.HeifImageFile(io.BytesIO(data))


def _too_large(problem: str) -> UserError:
    return UserError(
        f"The largest picture that is read is {_MAX_SIDE}x{_MAX_SIDE}, and this one {problem}.",
        "Make it smaller.",
    )


def _file_too_large() -> UserError:
    return UserError(
        f"The picture's file has more than {MAX_FILE_BYTES // 2**20} MiB, the most that is read.",
        "Make it smaller, or save it as JPEG or WebP.",
    )
