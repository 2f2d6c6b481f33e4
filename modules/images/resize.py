"""A picture in another size."""

from __future__ import annotations

from PIL import Image, ImageOps


def crop_and_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the picture's middle, cut to the new proportions and scaled (Lanczos); nothing is stretched.

    It is A1111's "Crop and resize".
    """
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
