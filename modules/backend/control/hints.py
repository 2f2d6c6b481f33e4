"""The control picture of a unit: cropped as the init image is, preprocessed, and brought to the size of the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from modules.backend.control.preprocess import Preprocessors
from modules.images.control.control_image import Pixels, fit_control_image
from modules.images.inpaint.canvas import crop_as_masked
from modules.images.inpaint.mask import blur_mask
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.plan.units.planned_unit import PlannedUnit

_HALF = 0.5


@dataclass(frozen=True)
class Hint:
    """What a control model gets to see.

    Args:
        pixels: [1, 3, height, width], float32 on the CPU, 0 to 1; -1 where an inpainting one is masked.
        mask: [1, 1, height, width], 1 where an inpainting one is masked; None for others.
        image: The same as an image.
    """

    pixels: Tensor
    mask: Tensor | None
    image: Image.Image


def source_image(planned: PlannedUnit, request: GenerationRequest) -> Image.Image:
    """Return the picture of a unit, or else the init image, as it is before its preprocessor."""
    return source_images(planned, request)[0]


def source_images(planned: PlannedUnit, request: GenerationRequest) -> list[Image.Image]:
    """Return all pictures of a unit, or else the init image; likewise."""
    field = planned.unit.image
    if field is None:
        assert isinstance(request, InitImageRequest), "the plan refuses a unit without any image"
        field = request.init_image
    assert field is not None, "likewise"
    fields = field, *planned.unit.more_images
    return [_crop(planned, request, one.to_pil()) for one in fields]


def make_hint(
    planned: PlannedUnit, request: GenerationRequest, preprocessors: Preprocessors
) -> Hint:
    """Return what a unit's control model gets to see.

    Args:
        planned: The unit.
        request: Of the pass: its size, its init image and mask.
        preprocessors: Make the control image.
    """
    unit = planned.unit
    image = source_image(planned, request)
    if planned.preprocessing is not None:
        image = preprocessors.make(planned.preprocessing, image).image
    pixels: Pixels = np.asarray(image.convert("RGB"))
    mask = _make_mask(planned, request, image.size)
    if mask is not None:
        pixels = np.dstack([pixels, np.asarray(mask)])
    fitted = fit_control_image(pixels, request.width, request.height, unit.resize_mode)
    channels = torch.from_numpy(fitted.copy()).permute(2, 0, 1)[None].float() / 255
    colours = Image.fromarray(np.ascontiguousarray(fitted[:, :, :3]))
    if mask is None:
        return Hint(channels, None, colours)
    is_masked = (channels[:, 3:] > _HALF).float()
    return Hint(channels[:, :3] * (1 - is_masked) - is_masked, is_masked, colours)


def _make_mask(
    planned: PlannedUnit, request: GenerationRequest, size: tuple[int, int]
) -> Image.Image | None:
    """Return the mask of a unit whose preprocessor needs one, else that of the request, in the size of its picture."""
    if not planned.masks:
        return None
    if planned.unit.mask is not None:
        mask = planned.unit.mask.to_pil()
    elif isinstance(request, Img2ImgRequest) and request.mask is not None:
        mask = request.mask.to_pil()
        if request.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
        mask = blur_mask(mask, *request.mask_blurs)
    else:
        return None
    return _crop(planned, request, mask.convert("L")).resize(size)


def make_region(planned: PlannedUnit, request: GenerationRequest) -> Tensor | None:
    """Return where a unit counts, [1, 1, height, width], 0 to 1; None everywhere."""
    field = planned.unit.effective_region_mask
    if field is None:
        return None
    mask = np.asarray(field.to_pil())[:, :, None].repeat(3, axis=2)
    fitted = fit_control_image(mask, request.width, request.height, planned.unit.resize_mode)
    return torch.from_numpy(fitted[:, :, 0].copy())[None, None].float() / 255


def _crop(planned: PlannedUnit, request: GenerationRequest, image: Image.Image) -> Image.Image:
    """Return a picture cropped as the init image is, where "Only masked" crops that."""
    if not isinstance(request, Img2ImgRequest) or not planned.unit.inpaint_crop_input_image:
        return image
    if planned.is_reference:  # the whole picture counts, as in sd-webui-controlnet
        return image
    return crop_as_masked(request, image)
