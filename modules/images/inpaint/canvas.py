"""What is repainted of a picture: cut, scaled, masked and filled for the network, and the way back into the picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image, ImageOps

from modules.core.errors import UserError
from modules.images.inpaint.mask import Box, blur_mask, crop_region
from modules.images.inpaint.masked_content import fill_masked
from modules.images.inpaint.outpaint import outpaint
from modules.images.resize import (
    RESIZE_MODES,
    crop_and_resize,
    nearest_valid_size,
    resize_and_fill,
    stretch,
)
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest

_ORIGINAL = 1  # the masked content that leaves the picture as it is
# How far the mask of a new side reaches into the picture, in blurs: there its soft edge has something to blend with.
_OVERLAP_BLURS = 2


@dataclass(frozen=True)
class Canvas:
    """A picture as it is laid out for repainting.

    Args:
        image: What the network sees, in RGB. Of the request's size; smaller when its latents are to be enlarged.
        mask: What is repainted, L, of the request's size; None repaints all.
        latent_mask: The same for the latents.
        overlay: What lies over the result; None without a mask.
    """

    image: Image.Image
    mask: Image.Image | None = None
    latent_mask: Image.Image | None = None
    overlay: Overlay | None = None


def prepare_canvas(request: Img2ImgRequest) -> Canvas:
    """Return the request's picture laid out as A1111 does (processing.StableDiffusionProcessingImg2Img.init).

    Raises:
        UserError: nothing is left to be repainted.
    """
    assert request.init_image is not None, "make_plan refuses a request without a picture"
    image = request.init_image.to_pil()
    if request.task == "img2img":
        return Canvas(_resized(request, image))
    image, mask = _masked(request, image)
    latent_mask = None
    if request.latent_mask is not None:
        latent_mask = stretch(request.latent_mask.to_pil(), *image.size)
    if request.inpaint_full_res:
        canvas = _only_masked(request, image, mask, latent_mask)
    else:
        canvas = _whole(request, image, mask, latent_mask)
    assert canvas.latent_mask is not None
    if request.inpainting_fill != _ORIGINAL:
        canvas = replace(canvas, image=fill_masked(canvas.image, canvas.latent_mask))
    return canvas


def _resized(request: Img2ImgRequest, image: Image.Image) -> Image.Image:
    width, height = request.width, request.height
    mode = RESIZE_MODES[request.resize_mode]
    if mode.upscales_latents and image.width <= width and image.height <= height:
        return stretch(image, *nearest_valid_size(*image.size))
    return mode.resize(image, width, height)


def _masked(request: Img2ImgRequest, image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the picture, continued at its sides if asked, and its blurred mask."""
    mask = resize_mask(request.mask, image.size)
    if mask is not None and request.inpainting_mask_invert:
        mask = ImageOps.invert(mask)
    if any(request.outpaint_sides):
        if not request.inpaint_full_res:
            left, top, right, bottom = request.outpaint_sides
            size = request.width - left - right, request.height - top - bottom
            resize = RESIZE_MODES[request.resize_mode].resize
            image, mask = resize(image, *size), None if mask is None else resize(mask, *size)
        overlap = _OVERLAP_BLURS * max(request.mask_blurs)
        image, mask = outpaint(image, mask, request.outpaint_sides, overlap)
    assert mask is not None, "without a mask or new sides it would be img2img"
    return image, blur_mask(mask, *request.mask_blurs)


def resize_mask(mask: ImageField | None, size: tuple[int, int]) -> Image.Image | None:
    """Return the mask stretched to a picture's size."""
    return None if mask is None else stretch(mask.to_pil(), *size)


def _whole(
    request: Img2ImgRequest, image: Image.Image, mask: Image.Image, latent_mask: Image.Image | None
) -> Canvas:
    size = request.width, request.height
    resize = RESIZE_MODES[request.resize_mode].resize
    image, mask = resize(image, *size), resize(mask, *size)
    # What is at least half masked is wholly new.
    share = mask.point([min(255, 2 * level) for level in range(256)])
    overlay = Overlay(image, (0, 0, *size), share)
    latent_mask = mask if latent_mask is None else resize(latent_mask, *size)
    return Canvas(image, mask, latent_mask, overlay)


def _only_masked(
    request: Img2ImgRequest, image: Image.Image, mask: Image.Image, latent_mask: Image.Image | None
) -> Canvas:
    size = request.width, request.height
    box = crop_region(mask, request.inpaint_full_res_padding, *size)
    if box is None:
        raise empty_mask_error()

    def part(of: Image.Image, box: Box = box) -> Image.Image:
        return resize_and_fill(of.crop(box), *size)

    overlay = Overlay(image, box, mask.crop(box))
    latent_mask = part(mask if latent_mask is None else latent_mask)
    return Canvas(part(image), part(mask), latent_mask, overlay)


def empty_mask_error() -> UserError:
    """Return the error for a mask that leaves nothing to be repainted."""
    return UserError(
        "The mask is empty: nothing would be repainted.",
        "Paint over what is to change; img2img repaints a whole picture.",
    )


@dataclass(frozen=True)
class Overlay:
    """What is laid over each result.

    Args:
        original: The whole picture in RGB.
        box: The part of it that was repainted.
        mask: L, of the box's size: how much of the result is seen; where it is 0 the original stays.
    """

    original: Image.Image
    box: Box
    mask: Image.Image

    def composite(self, result: Image.Image, mask: Image.Image | None = None) -> Image.Image:
        """Return the original with the result in its box.

        Args:
            result: RGB, of any size; its middle is cut to the box's proportions.
            mask: Another than the mask's own; pixels that the mask leaves alone stay the original's all the same.
        """
        size = self.mask.size
        new = result if result.size == size else crop_and_resize(result, *size)
        whole = self.original.copy()
        old = whole.crop(self.box)
        whole.paste(Image.composite(new, old, self.mask if mask is None else mask), self.box[:2])
        return whole
