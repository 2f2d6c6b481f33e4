"""What was painted on an init image: a sketch, which changes it, a mask, or both at once (A1111's inpaint sketch)."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFilter

from modules.images.inpaint.mask_sources import BRUSH, make_mask
from modules.images.strokes import Strokes, parse_strokes
from modules.params.image import ImageField
from modules.params.image_kinds import MASK

_WHITE = 255


@dataclass(frozen=True)
class Painting:
    """What was painted, and what it is for.

    Args:
        strokes: The page's text; see `parse_strokes`.
        mask_source: One of MASK_SOURCES; "" makes no mask, and the strokes change the image.
        is_sketch: Whether the strokes of a mask change the image, too, where they have a colour.
        transparency: Of such a sketch, in percent: how much of the image shows through, and how weak the mask is.
        blur: Standard deviation of the blur of such a sketch, in pixels of the image: the mask blur.
    """

    strokes: str = ""
    mask_source: str = ""
    is_sketch: bool = False
    transparency: float = 0.0
    blur: float = 0.0


def apply_painting(
    painting: Painting, data: bytes, mask_file: ImageField | None = None
) -> tuple[ImageField, ImageField | None]:
    """Return the init image as it is repainted, and its mask where the painting makes one.

    Args:
        painting: What was painted.
        data: The file of the init image.
        mask_file: The mask, for the source "A file".

    Raises:
        UserError: the image or the strokes cannot be read, or there is no mask; an empty one is reported by the plan.
    """
    image = ImageField.from_bytes(data)
    if painting.mask_source:
        if painting.is_sketch and painting.mask_source == BRUSH:
            return _sketch_with_mask(painting, image)
        source, strokes = painting.mask_source, painting.strokes
        return image, make_mask(source, image.size, data, strokes, mask_file)
    sketch = parse_strokes(painting.strokes, image.size)
    if sketch.strokes:
        image = ImageField.from_pil(sketch.paint_over(image.to_pil()))
    return image, None


def _sketch_with_mask(painting: Painting, image: ImageField) -> tuple[ImageField, ImageField]:
    """Return the image with the strokes on it, and their mask.

    As A1111 1.10 (img2img.img2img, mode 3): the mask is dimmed by its transparency; the blurred sketch is composited
    through the blurred mask. The mask itself is blurred when it is used, like any other.
    """
    strokes: Strokes = parse_strokes(painting.strokes, image.size)
    opacity = 1 - painting.transparency / 100
    mask = strokes.to_mask().point([round(value * opacity) for value in range(_WHITE + 1)])
    original = image.to_pil()
    blur = ImageFilter.GaussianBlur(painting.blur)
    sketch = strokes.paint_over(original).filter(blur)
    composite = Image.composite(sketch, original, mask.filter(blur))
    return ImageField.from_pil(composite), ImageField.from_pil(mask, MASK)
