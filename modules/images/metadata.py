"""Reads and writes text metadata of image files: PNG text chunks, EXIF user comment, GIF comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from PIL import Image
from PIL.PngImagePlugin import PngInfo, iTXt

from modules.core.errors import UserError
from modules.images.stealth import read_stealth_text
from modules.params.image_decoding import DAMAGE_ERRORS, open_image

PARAMETERS_KEY = "parameters"  # the PNG chunk of A1111's infotext
# Where one of these is, the file holds its parameters and nothing is searched for in its pixels.
_TEXT_KEYS = {PARAMETERS_KEY, "prompt", "workflow", "Comment", "invokeai_metadata"}
_MAX_ITEM_LENGTH = 4 * 2**20  # a large ComfyUI workflow has a few hundred kilobytes
_MAX_NAME_LENGTH = 79  # of a PNG's keyword
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
# ComfyUI writes "prompt:{...}" and "workflow:{...}" into the camera tags (Make, Model) of a WebP.
_CAMERA_TAGS = (0x010F, 0x0110)
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MIN_UTF8_LENGTH = 6
_STEPS = "Steps:"
_PARAMETERS = re.compile(r"steps\s?:\s?\d", re.IGNORECASE)


@dataclass(frozen=True)
class Metadata:
    """Format, size and text metadata of an image file.

    Args:
        format: Pillow's name of the file format.
        size: Width and height as stored, before EXIF orientation.
        items: Texts by name; an infotext is named "parameters" wherever the file holds it.
    """

    format: str
    size: tuple[int, int]
    items: Mapping[str, str]


def read_metadata(data: bytes) -> Metadata:
    """Return the text metadata of an image file.

    Raises:
        UserError: the file is not an image, too large or damaged.
    """
    with open_image(data) as image:
        return metadata_of(image)


def metadata_of(image: Image.Image) -> Metadata:
    """Return the text metadata of an image as `open_image` returned it.

    Raises:
        UserError: the metadata are damaged or too long.
    """
    try:
        items = {**_read_chunks(image), **_read_exif(image)}
        if not _TEXT_KEYS & items.keys():
            items |= _read_stealth_items(image)
    except DAMAGE_ERRORS as error:
        raise UserError(f"The picture's EXIF data are damaged: {error}.") from error
    return Metadata(image.format or "", image.size, items)


@dataclass(frozen=True)
class FileText:
    """What is written into an image's file.

    Args:
        infotext: The only text of a format with room for one.
        chunks: Texts by name of a format with room for several; none for the infotext alone.
    """

    infotext: str
    chunks: Mapping[str, str] = field(default_factory=dict[str, str])

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.infotext or self.chunks)


NO_TEXT = FileText("")


def make_png_info(infotext: str, chunks: Mapping[str, str] | None = None) -> PngInfo:
    """Return the PNG text chunk that holds an infotext, as A1111 writes it; with chunks, those in its place."""
    info = PngInfo()
    for name, value in (chunks or {PARAMETERS_KEY: infotext}).items():
        key = name.encode("latin-1", "replace")[:_MAX_NAME_LENGTH].decode("latin-1")
        if _decode_chunk(value) != value:
            info.add_itxt(key, value)  # as tEXt it would be read as UTF-8
        else:
            info.add_text(key, value)  # Pillow writes iTXt if Latin-1 cannot encode it
    return info


def make_exif_bytes(infotext: str) -> bytes:
    """Return EXIF data that hold an infotext, as A1111 writes it into JPEG, WebP and AVIF."""
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _UNICODE + infotext.encode("utf-16-be")
    return exif.tobytes()


def decode_user_comment(comment: bytes | str) -> str:
    """Return the text of an EXIF user comment in any of the encodings in use, whichever one its header names."""
    if isinstance(comment, str):
        return comment.strip("\0")
    head, body = comment[:8], comment[8:]
    is_unicode = head.upper() == _UNICODE
    text = body if is_unicode or head.upper() == _ASCII or head == bytes(8) else comment
    return _decode(text, is_unicode).strip("\0")


def _decode(data: bytes, is_unicode: bool) -> str:
    """Return a text that is UTF-16 or UTF-8, or else Latin-1; an odd last byte of UTF-16 belongs to no letter.

    Args:
        data: The bytes of the text.
        is_unicode: Whether the file says that it is UTF-16, which some programs write before UTF-8.
    """
    if data[:2] in _BYTE_ORDER_MARKS:
        return data[: len(data) & ~1].decode("utf-16", "replace")
    stripped = data.strip(b"\0")
    zeros = stripped.count(0)
    utf8 = _decode_utf8(stripped)
    if utf8 is None:
        is_utf16 = is_unicode or zeros * 3 > len(stripped)
    elif zeros:
        is_utf16 = zeros * 8 > len(stripped)
    else:
        is_utf16 = is_unicode and not _is_likely_utf8(stripped)
    if is_utf16:
        return data[: len(data) & ~1].decode(_detect_utf16(data), "replace")
    return utf8 if utf8 is not None else stripped.decode("latin-1")


def _decode_utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_likely_utf8(data: bytes) -> bool:
    """Return whether bytes that are UTF-8 without zeros are not UTF-16, as a few Chinese characters may be."""
    is_long = len(data) >= _MIN_UTF8_LENGTH and not data.isascii()
    return is_long or len(data) % 2 == 1 or any(separator in data for separator in b" ,\n")


def _detect_utf16(body: bytes) -> str:
    """Return the UTF-16 codec: A1111 writes big-endian; in little-endian Latin text the zeros are the odd bytes."""
    for codec in ("utf-16-be", "utf-16-le"):
        if _STEPS in body.decode(codec, "replace"):
            return codec
    return "utf-16-le" if body[1::2].count(0) > body[0::2].count(0) else "utf-16-be"


def _read_chunks(image: Image.Image) -> dict[str, str]:
    """Return the PNG's text chunks or the GIF's comment."""
    found: dict[str, str] = {}
    for name, value in image.info.items():
        if name in ("exif", "icc_profile", "photoshop"):
            continue
        text = _decode_chunk(value)
        if not isinstance(text, str):
            continue
        _check_length(str(name), text)
        found[str(name)] = text
    if image.format == "GIF" and "comment" in found:
        found[PARAMETERS_KEY] = found.pop("comment")
    elif PARAMETERS_KEY not in found:
        # Other comments name a camera or a program.
        text = next(filter(_holds_parameters, _read_jpeg_comments(image)), "")
        if text:
            found[PARAMETERS_KEY] = text
    return found


def _decode_chunk(value: object) -> object:
    """Return the text of a chunk or comment; a PNG's tEXt should be Latin-1, and some programs write UTF-8."""
    if isinstance(value, bytes):
        return _decode(value, is_unicode=False)
    if not isinstance(value, str) or isinstance(value, iTXt) or value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _read_jpeg_comments(image: Image.Image) -> Iterator[str]:
    """Yield a JPEG's comments, and the text that they are together."""
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    comments = [data for name, data in segments if name == "COM"]
    for data in (*comments, b"".join(comments)):
        if len(data) <= _MAX_ITEM_LENGTH:
            yield _decode(data, is_unicode=False).strip("\0")


def _holds_parameters(text: str) -> bool:
    return text.lstrip().startswith("{") or _PARAMETERS.search(text) is not None


def _read_exif(image: Image.Image) -> dict[str, str]:
    exif: Any = image.getexif()  # tags of any type
    found: dict[str, str] = {}
    for tag in _CAMERA_TAGS:
        value = exif.get(tag, "")
        if not isinstance(value, str):
            continue
        name, colon, text = value.strip("\0").partition(":")
        _check_length(name, text)
        if colon and text.lstrip().startswith("{"):
            found[name] = text
    comment: Any = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT) or exif.get(_USER_COMMENT)
    if isinstance(comment, bytes | str) and comment:
        _check_length("UserComment", comment)
        text = decode_user_comment(comment)
        if text.strip():
            found[PARAMETERS_KEY] = text
    return found


def _read_stealth_items(image: Image.Image) -> dict[str, str]:
    """Return the texts hidden in the pixels: an infotext, or NovelAI's chunks as one object."""
    text = read_stealth_text(image).strip("\0")
    if not text:
        return {}
    try:
        chunks: Any = json.loads(text) if text.startswith("{") else None  # any JSON value
    except (ValueError, RecursionError):
        chunks = None
    if not isinstance(chunks, dict) or "Comment" not in chunks:
        return {PARAMETERS_KEY: text}
    named = cast("dict[str, object]", chunks)
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in named.items()
    }
    # "\\ud800" is half a character, which nothing can store or send.
    return {name: value.encode("utf-8", "replace").decode() for name, value in texts.items()}


def _check_length(name: str, text: bytes | str) -> None:
    if len(text) > _MAX_ITEM_LENGTH:
        raise UserError(
            f"The picture's text '{name[:_MAX_NAME_LENGTH]}' is longer than {_MAX_ITEM_LENGTH} characters.",
            "Save the picture without it.",
        )
