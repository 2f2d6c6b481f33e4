"""A1111's masked content "fill": the masked area is filled from its surroundings, blurred less and less."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

# A1111's stack of blurs: radius in pixels, repetitions of the layer. Wide ones reach everywhere, narrow ones keep what
# is near; the last one, unblurred, restores the image where it is not masked.
_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the image with the masked area filled from its surroundings.

    Where the mask leaves nothing to fill from, the image's mean colour is used.

    Args:
        image: RGB.
        mask: L, of the image's size; white is filled.
    """
    unmasked = image.copy()
    unmasked.putalpha(ImageOps.invert(mask))
    unmasked = unmasked.convert("RGBa")  # premultiplied: masked pixels must not bleed into the blur
    filled = Image.new("RGBA", image.size, (*_mean_colour(image), 255))
    for radius, repetitions in _LAYERS:
        layer = unmasked.filter(ImageFilter.GaussianBlur(radius)) if radius else unmasked
        layer = layer.convert("RGBA")
        for _ in range(repetitions):
            filled.alpha_composite(layer)
    return filled.convert("RGB")


def _mean_colour(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image).mean(axis=(0, 1)).round().astype(int).tolist()
    return red, green, blue
