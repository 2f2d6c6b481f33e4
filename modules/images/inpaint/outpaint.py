"""Outpainting: extends an image at its sides and returns the mask of the new area."""

from __future__ import annotations

from PIL import Image, ImageChops

from modules.images.resize import extend_edges

Sides = tuple[int, int, int, int]  # pixels: left, top, right, bottom


def outpaint(
    image: Image.Image, mask: Image.Image | None, sides: Sides, overlap: int
) -> tuple[Image.Image, Image.Image]:
    """Return the extended image and the mask of its new area.

    Args:
        image: RGB. Its outermost pixels are repeated into the new area.
        mask: An inpainting mask to add, L, of the image's size.
        sides: Pixels to add per side.
        overlap: How far the new mask reaches into the image, so that its blurred edge lies where there is something to
            blend with; at most a third of the image.
    """
    extended = extend_edges(image, sides)
    left, top, right, bottom = sides
    overlap_x, overlap_y = min(overlap, image.width // 3), min(overlap, image.height // 3)
    kept = (
        left + overlap_x * bool(left),
        top + overlap_y * bool(top),
        left + image.width - overlap_x * bool(right),
        top + image.height - overlap_y * bool(bottom),
    )
    extended_mask = Image.new("L", extended.size, 255)
    extended_mask.paste(0, kept)
    if mask is not None:
        inpaint_mask = Image.new("L", extended.size, 0)
        inpaint_mask.paste(mask, (left, top))
        extended_mask = ImageChops.lighter(extended_mask, inpaint_mask)
    return extended, extended_mask
