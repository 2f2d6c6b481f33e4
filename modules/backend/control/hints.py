"""The control picture of a unit: cropped as the init image is, preprocessed, and brought to the size of the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend.control.preprocess import Preprocessors
from modules.images.control_image import Pixels, fit_control_image
from modules.images.inpaint.canvas import crop_as_masked
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.plan.units.planned_unit import PlannedUnit


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
    field = planned.unit.image
    if field is None:
        assert isinstance(request, InitImageRequest), "the plan refuses a unit without any image"
        field = request.init_image
    assert field is not None, "likewise"
    image = field.to_pil()
    return _crop(planned, request, image)


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
    fitted = fit_control_image(pixels, request.width, request.height, unit.resize_mode)
    tensor = torch.from_numpy(fitted.copy()).permute(2, 0, 1)[None].float() / 255
    return Hint(tensor, None, Image.fromarray(fitted))


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
    return crop_as_masked(request, image)
