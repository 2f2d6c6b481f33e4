"""Where the mask of an init image comes from: brush strokes, a file, or what is transparent in it."""

from __future__ import annotations

from collections.abc import Callable

from PIL import ImageOps

from modules.core.errors import UserError
from modules.images.inpaint.mask import mask_from_alpha
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField
from modules.params.image_decoding import open_image
from modules.params.image_kinds import MASK

BRUSH, FILE, TRANSPARENCY = "Brush", "A file", "What is transparent"
MASK_SOURCES = (BRUSH, FILE, TRANSPARENCY)


def make_mask(
    source: str, size: tuple[int, int], data: bytes, strokes: str, file: ImageField | None
) -> ImageField:
    """Return the mask of an init image.

    Args:
        source: One of MASK_SOURCES.
        size: The init image's size.
        data: Its file.
        strokes: What was painted on it, for the brush.
        file: The uploaded mask, for a file.

    Raises:
        UserError: there is no such source, or it has no mask; an empty mask is reported by the plan.
    """
    sources: dict[str, Callable[[], ImageField]] = {
        BRUSH: lambda: ImageField.from_pil(parse_strokes(strokes, size).to_mask(), MASK),
        FILE: lambda: _from_file(file),
        TRANSPARENCY: lambda: _from_transparency(data),
    }
    if source not in sources:
        raise UserError(f"The mask's source is {source!r}.", f"Use one of {', '.join(sources)}.")
    return sources[source]()


def _from_file(file: ImageField | None) -> ImageField:
    if file is None:
        raise UserError("There is no file with a mask.", "Upload one, or paint with the brush.")
    return file


def _from_transparency(data: bytes) -> ImageField:
    mask = mask_from_alpha(ImageOps.exif_transpose(open_image(data)))
    if mask is None:
        raise UserError("Nothing in the picture is transparent.", "Paint the mask with the brush.")
    return ImageField.from_pil(mask, MASK)
