"""A1111's masked content "fill": the masked area is filled from its surroundings, blurred less and less."""

from __future__ import annotations

from PIL import Image, ImageFilter

from modules.images.inpaint.mask import cut_out

# A1111's stack of blurs: radius in pixels, repetitions of the layer. Wide ones reach everywhere, narrow ones keep what
# is near; the last one, unblurred, restores the image where it is not masked.
_LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))


def fill_masked(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the image with the masked area filled from its surroundings.

    Where the mask leaves nothing to fill from, it is filled with black, as in A1111.

    Args:
        image: RGB.
        mask: L, of the image's size; white is filled.
    """
    unmasked = cut_out(image, mask)  # premultiplied: masked pixels must not bleed into the blur
    # Transparent at first. At the end the alpha is dropped, so that no colour shines through where layers are faint.
    filled = Image.new("RGBA", image.size)
    for radius, repetitions in _LAYERS:
        layer = unmasked.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(repetitions):
            filled.alpha_composite(layer)
    return filled.convert("RGB")
