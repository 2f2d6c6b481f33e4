"""Reads and writes text metadata of image files: PNG text chunks, EXIF user comment, GIF comment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules.core.errors import UserError
from modules.params.image_decoding import DAMAGE_ERRORS, open_image

PARAMETERS_KEY = "parameters"  # the PNG chunk of A1111's infotext
_MAX_ITEM_LENGTH = 4 * 2**20  # a large ComfyUI workflow has a few hundred kilobytes
_MAX_NAME_LENGTH = 80  # a PNG's keyword has at most 79
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
# ComfyUI writes "prompt:{...}" and "workflow:{...}" into the camera tags (Make, Model) of a WebP.
_CAMERA_TAGS = (0x010F, 0x0110)
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"


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
        try:
            items = {**_read_chunks(image), **_read_exif(image)}
        except DAMAGE_ERRORS as error:
            raise UserError(f"The picture's EXIF data are damaged: {error}.") from error
        return Metadata(image.format or "", image.size, items)


def make_png_info(infotext: str) -> PngInfo:
    """Return the PNG text chunk that holds an infotext, as A1111 writes it."""
    info = PngInfo()
    info.add_text(PARAMETERS_KEY, infotext)  # Pillow writes iTXt if Latin-1 cannot encode it
    return info


def make_exif_bytes(infotext: str) -> bytes:
    """Return EXIF data that hold an infotext, as A1111 writes it into JPEG, WebP and AVIF."""
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _UNICODE + infotext.encode("utf-16-be")
    return exif.tobytes()


def decode_user_comment(comment: bytes | str) -> str:
    """Return the text of an EXIF user comment in any of the encodings in use."""
    if isinstance(comment, str):
        return comment.strip("\0")
    head, body = comment[:8], comment[8:]
    if head == _UNICODE:
        return body.decode(_detect_utf16(body), errors="replace").strip("\0")
    rest = body if head in (_ASCII, bytes(8)) else comment
    return rest.decode("utf-8", errors="replace").strip("\0")


def _detect_utf16(body: bytes) -> str:
    """Return the UTF-16 codec: A1111 writes big-endian; in little-endian Latin text the zeros are the odd bytes."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    return "utf-16-le" if body[1::2].count(0) > body[0::2].count(0) else "utf-16-be"


def _read_chunks(image: Image.Image) -> dict[str, str]:
    """Return the PNG's text chunks or the GIF's comment."""
    found: dict[str, str] = {}
    for name, value in image.info.items():
        if name in ("exif", "icc_profile", "photoshop"):
            continue
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if not isinstance(text, str):
            continue
        _check_length(str(name), text)
        found[str(name)] = text
    if image.format == "GIF" and "comment" in found:
        found[PARAMETERS_KEY] = found.pop("comment")
    return found


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


def _check_length(name: str, text: bytes | str) -> None:
    if len(text) > _MAX_ITEM_LENGTH:
        raise UserError(
            f"The picture's text '{name[:_MAX_NAME_LENGTH]}' is longer than {_MAX_ITEM_LENGTH} characters.",
            "Save the picture without it.",
        )
