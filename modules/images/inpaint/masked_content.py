"""What stands under a mask before it is repainted: the surroundings, blurred ever less."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

# A1111's stack of blurs: radius in pixels, how often its layer is laid on. Wide ones reach everywhere, narrow ones
# keep what is near; the last, not blurred at all, brings the picture back where it is not masked.
_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the picture with the masked part filled from what surrounds it, A1111's masked content "fill".

    Where a mask leaves nothing to fill from, the picture's mean colour stands.

    Args:
        image: RGB.
        mask: L, of its size; white is filled.
    """
    cut = image.copy()
    cut.putalpha(ImageOps.invert(mask))
    cut = cut.convert("RGBa")  # premultiplied: what is cut out must not bleed into the blur
    filled = Image.new("RGBA", image.size, (*_mean(image), 255))
    for radius, times in _LAYERS:
        layer = (cut.filter(ImageFilter.GaussianBlur(radius)) if radius else cut).convert("RGBA")
        for _ in range(times):
            filled.alpha_composite(layer)
    return filled.convert("RGB")


def _mean(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image).mean(axis=(0, 1)).round().astype(int).tolist()
    return red, green, blue
