"""ImageField: an image in a request, read from a file's bytes or from base64."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args

from PIL import Image, ImageOps
from pydantic import BeforeValidator, PlainSerializer
from pydantic.fields import FieldInfo

from modules.core.errors import UserError
from modules.params.image_decoding import decode_base64, open_image
from modules.params.image_kinds import DEPTH, IMAGE, MASK, ImageKind

_MAX_EMPTY_LENGTH = 100  # a longer text is an image, or wrong


@dataclass(frozen=True, repr=False)
class ImageField:
    """An image as upright pixels; compared by its pixels.

    Args:
        size: Width and height.
        pixels: Rows from the top.
        mode: Pillow's mode: "RGB" for an image, "L" for a mask, "I;16" for depth.
    """

    size: tuple[int, int]
    pixels: bytes
    mode: str = IMAGE.mode

    @classmethod
    def from_pil(cls, image: Image.Image, kind: ImageKind = IMAGE) -> ImageField:
        """Return an image, rotated by its EXIF orientation and converted to the mode of its kind."""
        converted = kind.convert(ImageOps.exif_transpose(image))
        return cls(converted.size, converted.tobytes(), kind.mode)

    @classmethod
    def from_bytes(cls, data: bytes, kind: ImageKind = IMAGE) -> ImageField:
        """Return the image in the bytes of a file.

        Raises:
            UserError: the file cannot be read; see `open_image`.
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
        """Return the image in base64, with or without the prefix "data:image/png;base64,".

        Raises:
            UserError: the text is not base64, or the file in it cannot be read.
        """
        return cls.from_bytes(decode_base64(text), kind)

    def to_pil(self) -> Image.Image:
        """Return a new Pillow image in this mode."""
        return Image.frombytes(self.mode, self.size, self.pixels)

    def to_base64(self) -> str:
        """Return the image as a PNG in base64, without a prefix."""
        buffer = io.BytesIO()
        self.to_pil().save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def __repr__(self) -> str:
        """Return a short text for logs."""
        digest = hashlib.sha256(self.pixels).hexdigest()[:8]
        return f"<{self.size[0]}x{self.size[1]} image {digest}>"


def is_image_field(field: FieldInfo) -> bool:
    """Return whether a request's field holds an image, a mask or depth."""
    return ImageField in (field.annotation, *get_args(field.annotation))


def is_image_list(field: FieldInfo) -> bool:
    """Return whether a request's field holds several images."""
    return is_image_field(field) and isinstance(field.default, tuple)


def is_no_image(value: object) -> bool:
    """Return whether a value means "no image": None, an empty text or data URI, or a list of nothing else."""
    if isinstance(value, list | tuple):
        return all(_is_nothing(item) for item in cast("Iterable[object]", value))
    return _is_nothing(value)


def _is_nothing(value: object) -> bool:
    if isinstance(value, str) and len(value) < _MAX_EMPTY_LENGTH:
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        return not encoded.strip()
    return value is None


def make_reader(kind: ImageKind) -> Callable[[Any], ImageField | None]:
    """Return a validator of a request's field, which raises a ValueError for what is no image of a kind."""

    def read(value: Any) -> ImageField | None:  # Any: whatever a form or a JSON body holds
        try:
            if isinstance(value, ImageField) and value.mode != kind.mode:
                return ImageField.from_pil(value.to_pil(), kind)
            if isinstance(value, ImageField):
                return value
            if is_no_image(value):
                return None
            if isinstance(value, bytes):
                return ImageField.from_bytes(value, kind)
            if isinstance(value, str):
                return ImageField.from_base64(value, kind)
            raise UserError(f"A picture in base64 is needed, not {type(value).__name__}.")
        except UserError as error:
            raise ValueError(str(error)) from error

    return read


def _read_list(value: Any) -> tuple[ImageField, ...]:  # Any: likewise
    if value is not None and not isinstance(value, list | tuple):
        raise ValueError(f"A list of pictures is needed, not {type(value).__name__}.")
    items = cast("Iterable[Any]", value or ())
    return tuple(image for image in map(make_reader(IMAGE), items) if image is not None)


def _serialize(image: ImageField | None) -> str | None:
    return None if image is None else image.to_base64()


_AS_BASE64 = PlainSerializer(_serialize, return_type=str | None, when_used="json")
_AS_LIST = PlainSerializer(
    lambda images: [image.to_base64() for image in images], return_type=list[str], when_used="json"
)
# Types of request fields: each accepts an ImageField, a file's bytes or base64; JSON holds base64.
InputImage = Annotated[ImageField | None, BeforeValidator(make_reader(IMAGE)), _AS_BASE64]
Mask = Annotated[ImageField | None, BeforeValidator(make_reader(MASK)), _AS_BASE64]
InputImages = Annotated[tuple[ImageField, ...], BeforeValidator(_read_list), _AS_LIST]
DepthMap = Annotated[ImageField | None, BeforeValidator(make_reader(DEPTH)), _AS_BASE64]
