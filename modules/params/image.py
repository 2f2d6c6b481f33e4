"""ImageField: a picture that travels in a request, read from a file's bytes or from base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from PIL import Image, ImageOps
from pydantic import BeforeValidator, PlainSerializer
from pydantic.fields import FieldInfo

from modules.core.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP")
LARGEST_FILE_BYTES = 64 * 2**20  # as much as the page lets through
# As many as the largest picture that can be made. A few kilobytes can unpack to any number.
MOST_PIXELS = 8192 * 8192
PAPER = (255, 255, 255)  # behind what is transparent, as in A1111


@dataclass(frozen=True, repr=False)
class ImageField:
    """A picture as its pixels: upright, opaque, in 8-bit RGB. Equal pixels are equal pictures.

    Args:
        size: Width and height.
        pixels: Rows from the top, three bytes a pixel.
    """

    size: tuple[int, int]
    pixels: bytes

    @classmethod
    def from_pil(cls, image: Image.Image) -> ImageField:
        """Return a picture as it is to be seen: turned as its EXIF data say, on white where it is transparent."""
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith(
            "I"
        ):  # 16 bits of grey, as programs write depth; RGB would cut them off
            upright = upright.convert("I").point(lambda value: value * (1 / 256))
            upright = upright.convert("L")
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, PAPER), upright)
        return cls(upright.size, upright.convert("RGB").tobytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageField:
        """Return the picture in the bytes of a file.

        Raises:
            UserError: they are no PNG, JPEG or WebP, are damaged, or hold too many pixels.
        """
        if len(data) > LARGEST_FILE_BYTES:
            raise UserError(
                f"The picture has {len(data)} bytes; at most {LARGEST_FILE_BYTES} are read."
            )
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size  # from the header; nothing is unpacked yet
                if width * height > MOST_PIXELS:
                    raise _too_large(f"{width}x{height} pixels")
                return cls.from_pil(image)
        except Image.UnidentifiedImageError:
            raise UserError("The picture is no PNG, JPEG or WebP file.") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large("too many pixels") from None
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow says of damage
            raise UserError(f"The picture is damaged: {error}.", "Save it again.") from error

    @classmethod
    def from_base64(cls, text: str) -> ImageField:
        """Return the picture in base64, with or without "data:image/png;base64," before it.

        Raises:
            UserError: the text is no base64, or no picture comes of it.
        """
        if text.startswith(("http://", "https://")):
            raise UserError(
                "The picture is a web address, and nothing is fetched.", "Send it in base64."
            )
        coded = text.partition(",")[2] if text.startswith("data:") else text
        try:
            data = base64.b64decode("".join(coded.split()), validate=True)
        except (binascii.Error, ValueError):
            raise UserError("The picture is no base64 text.") from None
        return cls.from_bytes(data)

    def to_pil(self) -> Image.Image:
        """Return a new picture in RGB."""
        return Image.frombytes("RGB", self.size, self.pixels)

    def to_base64(self) -> str:
        """Return the picture as a PNG in base64, without a prefix."""
        buffer = io.BytesIO()
        self.to_pil().save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def __repr__(self) -> str:
        """Return what fits into a log."""
        digest = hashlib.sha256(self.pixels).hexdigest()[:8]
        return f"<{self.size[0]}x{self.size[1]} picture {digest}>"


def is_picture(field: FieldInfo) -> bool:
    """Return whether a request's field holds a picture."""
    return ImageField in (field.annotation, *get_args(field.annotation))


def _read(value: Any) -> ImageField | None:  # whatever a form or a JSON body holds
    try:
        if value is None or isinstance(value, ImageField):
            return value
        if isinstance(value, bytes):
            return ImageField.from_bytes(value)
        if isinstance(value, str):
            return ImageField.from_base64(value)
        raise UserError(f"A picture in base64 is needed, not {type(value).__name__}.")
    except UserError as error:
        raise ValueError(str(error)) from error


def _coded(picture: ImageField | None) -> str | None:
    return None if picture is None else picture.to_base64()


def _too_large(found: str) -> UserError:
    return UserError(
        f"The picture has {found}; at most {MOST_PIXELS} are read.", "Make it smaller."
    )


# The type of a request's field: it takes a picture, a file's bytes or base64; JSON holds base64.
Picture = Annotated[
    ImageField | None,
    BeforeValidator(_read),
    PlainSerializer(_coded, return_type=str | None, when_used="json"),
]
