"""The img2img canvas: crops, scales, masks and fills an init image for the network, and composites the result back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image, ImageOps

from modules.core.errors import UserError
from modules.images.inpaint.mask import Box, blur_mask, crop_region
from modules.images.inpaint.masked_content import fill_masked
from modules.images.inpaint.outpaint import outpaint
from modules.images.inpaint.overlay import Overlay
from modules.images.resize import (
    RESIZE_MODES,
    SIZE_MULTIPLE,
    Stretch,
    resize_and_fill,
    stretch,
)
from modules.params.requests.img2img import Img2ImgRequest

_ORIGINAL = 1  # the masked content "original": nothing is filled
# Overlap of an outpainted side's mask with the image, in mask blurs: there its soft edge has something to blend with.
_OVERLAP_BLURS = 2


@dataclass(frozen=True)
class Canvas:
    """An init image and its masks, prepared for the network.

    Args:
        image: RGB, of the size in `encoded_size`.
        mask: L, of the request's size, white is repainted; None repaints everything.
        latent_mask: The mask used on the latents.
        overlay: Composites the result onto the original; None without a mask.
    """

    image: Image.Image
    mask: Image.Image | None = None
    latent_mask: Image.Image | None = None
    overlay: Overlay | None = None


def prepare_canvas(request: Img2ImgRequest, scale: Stretch = stretch) -> Canvas:
    """Return the canvas of a request's init image, as A1111 does (processing.StableDiffusionProcessingImg2Img.init).

    Args:
        request: The request.
        scale: How the image is scaled; masks are so by Lanczos.

    Raises:
        UserError: the mask is empty.
    """
    assert request.init_image is not None, "make_plan refuses a request without an init image"
    image = request.init_image.to_pil()
    if not request.has_mask:
        return Canvas(_resize(request, image, scale))
    image, mask = _outpaint_and_blur(request, image, scale)
    latent_mask = None if request.latent_mask is None else request.latent_mask.to_pil()
    if request.inpaint_full_res:
        canvas = _crop_to_mask(request, image, mask, latent_mask, scale)
    else:
        canvas = _use_whole_image(request, image, mask, latent_mask, scale)
    assert canvas.latent_mask is not None
    if request.inpainting_fill != _ORIGINAL:
        fill_mask = stretch(canvas.latent_mask, *canvas.image.size)
        canvas = replace(canvas, image=fill_masked(canvas.image, fill_mask))
    return canvas


def encoded_size(request: Img2ImgRequest) -> tuple[int, int]:
    """Return the width and height at which the init image is encoded.

    They are those of the request, or, with A1111's resize mode "latent upscale", the image's own.
    """
    only_masked = request.inpaint_full_res and request.has_mask
    keeps_size = RESIZE_MODES[request.resize_mode].resizes_latents and not only_masked
    if request.init_image is None or not keeps_size or any(request.outpaint_sides):
        return request.width, request.height
    width, height = request.init_image.size
    return max(width, SIZE_MULTIPLE), max(height, SIZE_MULTIPLE)


def crop_as_masked(request: Img2ImgRequest, image: Image.Image) -> Image.Image:
    """Return another image of an inpainting request cropped as its init image is; the same one where that is not.

    Args:
        request: The request.
        image: Stretched over the init image, whose proportions it should have.

    Raises:
        UserError: the mask is empty.
    """
    if request.mask is None or not request.inpaint_full_res or any(request.outpaint_sides):
        return image
    mask = request.mask.to_pil()
    if request.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    mask = blur_mask(mask, *request.mask_blurs)
    box = crop_region(mask, request.inpaint_full_res_padding, request.width, request.height)
    if box is None:
        raise empty_mask_error()
    fitted = RESIZE_MODES[request.resize_mode].resize(image, *mask.size, stretch)
    return resize_and_fill(fitted.crop(box), request.width, request.height)


def _resize(request: Img2ImgRequest, image: Image.Image, scale: Stretch) -> Image.Image:
    return RESIZE_MODES[request.resize_mode].resize(image, *encoded_size(request), scale)


def _outpaint_and_blur(
    request: Img2ImgRequest, image: Image.Image, scale: Stretch
) -> tuple[Image.Image, Image.Image]:
    """Return the image, outpainted if requested, and its blurred mask, which keeps its size without outpainting."""
    mask = None if request.mask is None else request.mask.to_pil()
    if mask is not None and request.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    if any(request.outpaint_sides):
        mode, size = RESIZE_MODES[request.resize_mode], image.size
        if not request.inpaint_full_res:
            left, top, right, bottom = request.outpaint_sides
            size = request.width - left - right, request.height - top - bottom
        image = mode.resize(image, *size, scale)
        mask = None if mask is None else mode.resize_mask(mask, *size)
        overlap = _OVERLAP_BLURS * max(request.mask_blurs)
        image, mask = outpaint(image, mask, request.outpaint_sides, overlap)
    assert mask is not None, "without a mask or outpainting the task would be img2img"
    return image, blur_mask(mask, *request.mask_blurs)


def _use_whole_image(
    request: Img2ImgRequest,
    image: Image.Image,
    mask: Image.Image,
    latent_mask: Image.Image | None,
    scale: Stretch,
) -> Canvas:
    size = request.width, request.height
    resize_mask = RESIZE_MODES[request.resize_mode].resize_mask
    image, mask = _resize(request, image, scale), resize_mask(mask, *size)
    # Pixels masked by at least half come entirely from the result.
    overlay_mask = mask.point([min(255, 2 * value) for value in range(256)])
    overlay = Overlay(stretch(image, *size), (0, 0, *size), overlay_mask)
    latent_mask = mask if latent_mask is None else resize_mask(latent_mask, *size)
    return Canvas(image, mask, latent_mask, overlay)


def _crop_to_mask(
    request: Img2ImgRequest,
    image: Image.Image,
    mask: Image.Image,
    latent_mask: Image.Image | None,
    scale: Stretch,
) -> Canvas:
    size = request.width, request.height
    box = crop_region(mask, request.inpaint_full_res_padding, *size)
    if box is None:
        raise empty_mask_error()

    def crop(source: Image.Image, scale: Stretch = stretch, box: Box = box) -> Image.Image:
        return resize_and_fill(source.crop(box), *size, scale)

    # As in A1111: the box lies in a mask of another size as in the image, but the overlay's mask is resized to the image.
    overlay_mask = RESIZE_MODES[request.resize_mode].resize_mask(mask, *image.size)
    overlay = Overlay(image, box, overlay_mask)
    latent_mask = crop(mask if latent_mask is None else stretch(latent_mask, *mask.size))
    return Canvas(crop(image, scale), crop(mask), latent_mask, overlay)


def empty_mask_error() -> UserError:
    """Return the error for an all-black mask."""
    return UserError(
        "The mask is empty: nothing would be repainted.",
        "Paint over the area to change; img2img repaints the whole picture.",
    )
