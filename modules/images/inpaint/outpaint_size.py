"""How the size of an outpainted result fits its init image: what it should be, and what happens if it is another."""

from __future__ import annotations

from modules.images.resize import RESIZE_MODES, SIZE_MULTIPLE, nearest_valid_size
from modules.params.requests.img2img import Img2ImgRequest

Size = tuple[int, int]
_STRETCHES = RESIZE_MODES[0].resize


def outpainted_size(image_size: Size, request: Img2ImgRequest, factor: float = 1.0) -> Size:
    """Return the valid size of the result that keeps the init image as it is: its own size and the added sides.

    Args:
        image_size: That of the init image.
        request: Has the sides.
        factor: How much the init image is enlarged.
    """
    left, top, right, bottom = request.outpaint_sides
    width, height = (round(side * factor) for side in image_size)
    return nearest_valid_size(width + left + right, height + top + bottom)


def size_within_outpainted(request: Img2ImgRequest) -> Size:
    """Return what the added sides leave of the result for the init image; not positive if they leave nothing."""
    left, top, right, bottom = request.outpaint_sides
    return request.width - left - right, request.height - top - bottom


def keeps_proportions(image_size: Size, size: Size) -> bool:
    """Return whether an image has the proportions of a size, as nearly as sides that are multiples of 8 allow."""
    (width, height), (new_width, new_height) = image_size, size
    factor = max(new_width / width, new_height / height)
    gaps = (width * factor - new_width, height * factor - new_height)
    return max(gaps) < SIZE_MULTIPLE


def distortion_note(request: Img2ImgRequest) -> str:
    """Return a sentence if outpainting stretches the init image to other proportions, else ""."""
    image = request.init_image
    if image is None or not any(request.outpaint_sides) or request.inpaint_full_res:
        return ""
    size = size_within_outpainted(request)
    stretches = RESIZE_MODES[request.resize_mode].resize is _STRETCHES
    if not stretches or keeps_proportions(image.size, size):
        return ""
    whole, inner, own, fitting = (
        f"{width}x{height}"
        for width, height in (
            (request.width, request.height),
            size,
            image.size,
            outpainted_size(image.size, request),
        )
    )
    return (
        f"The size of an outpainted result is that of the whole: within {whole} the picture was stretched from {own} "
        f"to {inner}; {fitting} keeps it as it is."
    )
