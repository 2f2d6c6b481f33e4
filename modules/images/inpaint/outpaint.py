"""A picture continued beyond its sides: a larger one, and the mask of what is new."""

from __future__ import annotations

from PIL import Image, ImageChops

from modules.images.resize import extend_edges

Sides = tuple[int, int, int, int]  # pixels at the left, the top, the right and the bottom


def outpaint(
    image: Image.Image, mask: Image.Image | None, sides: Sides, overlap: int
) -> tuple[Image.Image, Image.Image]:
    """Return the picture with room at its sides and the mask of that room.

    Args:
        image: RGB. Its outermost pixels are repeated into the room.
        mask: What is repainted besides, in L and of the picture's size.
        sides: How much room.
        overlap: How far the mask reaches into the picture, so that its blurred edge lies where there is something to
            blend with; a third of the picture at most.
    """
    larger = extend_edges(image, sides)
    left, top, right, bottom = sides
    across, down = min(overlap, image.width // 3), min(overlap, image.height // 3)
    kept = (
        left + across * bool(left),
        top + down * bool(top),
        left + image.width - across * bool(right),
        top + image.height - down * bool(bottom),
    )
    room = Image.new("L", larger.size, 255)
    room.paste(0, kept)
    if mask is not None:
        given = Image.new("L", larger.size, 0)
        given.paste(mask, (left, top))
        room = ImageChops.lighter(room, given)
    return larger, room
