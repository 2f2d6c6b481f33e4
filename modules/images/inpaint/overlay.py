"""Composites results onto the original image, in A1111's 8-bit arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from modules.images.inpaint.mask import Box, cut_out
from modules.images.resize import crop_and_resize


@dataclass(frozen=True)
class Overlay:
    """Composites results onto the original image.

    Args:
        original: The whole image in RGB.
        box: The repainted region.
        mask: L, of the original's size: the opacity of the result; 0 keeps the original, byte for byte.
    """

    original: Image.Image
    box: Box
    mask: Image.Image

    def composite(self, result: Image.Image, opacity: Image.Image | None = None) -> Image.Image:
        """Return the original with the result in its box.

        Args:
            result: RGB, of any size; its centre is cropped to the box's aspect ratio.
            opacity: L, of any size, placed like the result: used instead of the mask, and beyond it too.
        """
        mask = self.mask if opacity is None else self._place(opacity, "L", self._whole)
        region = mask.getbbox()  # beyond it nothing changes: photos are large
        if region is None:
            return self.original.copy()
        # A1111 lays what is left of the original over the result, and nothing lies under it beyond the box.
        composite = self._place(result, "RGBA", region)
        composite.alpha_composite(
            cut_out(self.original.crop(region), mask.crop(region)).convert("RGBA")
        )
        image = self.original.copy()
        image.paste(composite.convert("RGB"), region[:2])
        return image

    @property
    def _whole(self) -> Box:
        return 0, 0, *self.original.size

    def _place(self, image: Image.Image, mode: str, region: Box) -> Image.Image:
        """Return a region of an image that fills the box and is black, or transparent, beyond it."""
        left, top, right, bottom = self.box
        placed = Image.new(mode, (region[2] - region[0], region[3] - region[1]))
        fitted = crop_and_resize(image, right - left, bottom - top)
        placed.paste(fitted, (left - region[0], top - region[1]))
        return placed
