"""A repainted part back in its picture: outside the mask stands the original, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from modules.images.mask import Box
from modules.images.resize import crop_and_resize


@dataclass(frozen=True)
class Overlay:
    """What is laid over each result.

    Args:
        original: The whole picture in RGB.
        box: The part of it that was repainted.
        share: L, of the box's size: how much of the result is seen; where it is 0 the original stays.
    """

    original: Image.Image
    box: Box
    share: Image.Image

    def over(self, result: Image.Image, share: Image.Image | None = None) -> Image.Image:
        """Return the original with the result in its box.

        Args:
            result: RGB, of any size; its middle is cut to the box's proportions.
            share: Another than the mask's own; pixels that the mask leaves alone stay the original's all the same.
        """
        size = self.share.size
        new = result if result.size == size else crop_and_resize(result, *size)
        whole = self.original.copy()
        old = whole.crop(self.box)
        whole.paste(Image.composite(new, old, self.share if share is None else share), self.box[:2])
        return whole
