"""ImageField: a picture that travels in a request, read from a file's bytes or from base64."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from PIL import Image, ImageOps
from pydantic import BeforeValidator, PlainSerializer
from pydantic.fields import FieldInfo

from modules.core.errors import UserError
from modules.params.image_decoding import decode_base64, open_image
from modules.params.image_kinds import DEPTH, IMAGE, MASK, ImageKind


@dataclass(frozen=True, repr=False)
class ImageField:
    """A picture as its pixels, upright. Equal pixels are equal pictures.

    Args:
        size: Width and height.
        pixels: Rows from the top.
        mode: Pillow's: "RGB" for a picture, "L" for a mask, "I;16" for depth.
    """

    size: tuple[int, int]
    pixels: bytes
    mode: str = IMAGE.mode

    @classmethod
    def from_pil(cls, image: Image.Image, kind: ImageKind = IMAGE) -> ImageField:
        """Return a picture as it is to be seen: turned as its EXIF data say, in the mode of its kind."""
        read = kind.convert(ImageOps.exif_transpose(image))
        return cls(read.size, read.tobytes(), kind.mode)

    @classmethod
    def from_bytes(cls, data: bytes, kind: ImageKind = IMAGE) -> ImageField:
        """Return the picture in the bytes of a file.

        Raises:
            UserError: no picture comes of them; see `open_image`.
        """
        with open_image(data) as image:
            try:
                return cls.from_pil(image, kind)
            except ValueError as error:  # a mode that Pillow cannot convert
                raise UserError(
                    f"The picture cannot be read: {error}.", "Save it as PNG."
                ) from error

    @classmethod
    def from_base64(cls, text: str, kind: ImageKind = IMAGE) -> ImageField:
        """Return the picture in base64, with or without "data:image/png;base64," before it.

        Raises:
            UserError: the text is no base64, or no picture comes of it.
        """
        return cls.from_bytes(decode_base64(text), kind)

    def to_pil(self) -> Image.Image:
        """Return a new picture in its mode."""
        return Image.frombytes(self.mode, self.size, self.pixels)

    def to_base64(self) -> str:
        """Return the picture as a PNG in base64, without a prefix."""
        buffer = io.BytesIO()
        self.to_pil().save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def __repr__(self) -> str:
        """Return what fits into a log."""
        digest = hashlib.sha256(self.pixels).hexdigest()[:8]
        return f"<{self.size[0]}x{self.size[1]} picture {digest}>"


def is_image_field(field: FieldInfo) -> bool:
    """Return whether a request's field holds a picture, a mask or depth."""
    return ImageField in (field.annotation, *get_args(field.annotation))


def _reader(kind: ImageKind) -> Callable[[Any], ImageField | None]:
    def read(value: Any) -> ImageField | None:  # whatever a form or a JSON body holds
        try:
            if isinstance(value, ImageField) and value.mode != kind.mode:
                return ImageField.from_pil(value.to_pil(), kind)
            if value is None or isinstance(value, ImageField):
                return value
            if isinstance(value, bytes):
                return ImageField.from_bytes(value, kind)
            if isinstance(value, str):
                return ImageField.from_base64(value, kind)
            raise UserError(f"A picture in base64 is needed, not {type(value).__name__}.")
        except UserError as error:
            raise ValueError(str(error)) from error

    return read


def _coded(picture: ImageField | None) -> str | None:
    return None if picture is None else picture.to_base64()


_AS_BASE64 = PlainSerializer(_coded, return_type=str | None, when_used="json")
# The types of a request's fields: each takes a picture, a file's bytes or base64; JSON holds base64.
InputImage = Annotated[ImageField | None, BeforeValidator(_reader(IMAGE)), _AS_BASE64]
Mask = Annotated[ImageField | None, BeforeValidator(_reader(MASK)), _AS_BASE64]
DepthMap = Annotated[ImageField | None, BeforeValidator(_reader(DEPTH)), _AS_BASE64]
