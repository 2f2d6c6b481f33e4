"""Txt2ImgRequest: txt2img with the fields of hires fix, and the size and request of the hires pass."""

from __future__ import annotations

from dataclasses import dataclass

from modules.params.param import param, validate
from modules.params.requests.base import SIZE_STEP, GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest


def _has_hires_pass(request: Txt2ImgRequest) -> bool:
    return request.enable_hr


class Txt2ImgRequest(GenerationRequest):
    """An image from a prompt, with an optional hires pass."""

    enable_hr: bool = param(
        False,
        "Hires. fix",
        help="Enlarges the picture and repaints it at the larger size: more detail, without the doubled things of a large size at once.",
        section="hires",
    )
    hr_scale: float = param(
        2.0,
        "Upscale by",
        help="How many times wider and higher the second pass makes the picture; 2 means four times as many pixels.",
        ge=1,
        le=8,
        slider=(1, 4, 0.05),
        section="hires",
    )
    hr_resize_x: int = param(
        0,
        "Resize width to",
        help="Width of the second pass in pixels; 0 derives it from the height, or from the scale when both are 0.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="hires",
    )
    hr_resize_y: int = param(
        0,
        "Resize height to",
        help="Height of the second pass in pixels; 0 derives it from the width, or from the scale when both are 0.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="hires",
    )
    hr_upscaler: str = param(
        "Latent",
        "Upscaler",
        help="How the first picture is enlarged before the second pass: Latent changes it more, Lanczos stays closer to it.",
        choices="hires upscalers",
        section="hires",
    )
    hr_second_pass_steps: int = param(
        0,
        "Hires steps",
        help="Steps of the second pass; more refine it, 0 uses as many as the first pass.",
        ge=0,
        le=1000,
        slider=(0, 150, 1),
        section="hires",
    )
    denoising_strength: float = param(
        0.7,
        "Denoising strength",
        help="How much the second pass may change: lower stays closer to the first picture, higher invents more; latent upscalers need at least 0.5.",
        infotext="Denoising strength",
        when=_has_hires_pass,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="hires",
    )
    hr_checkpoint_name: str = param(
        "",
        "Hires checkpoint",
        help="Checkpoint of the second pass; empty uses the same.",
        choices="checkpoints",
        section="hires",
    )
    hr_sampler_name: str = param(
        "",
        "Hires sampling method",
        help="Sampler of the second pass; empty uses the same.",
        choices="samplers",
        section="hires",
    )
    hr_scheduler: str = param(
        "",
        "Hires schedule type",
        help="How the second pass spreads its noise over the steps; empty uses the same as the first.",
        choices="schedules",
        section="hires",
    )
    hr_prompt: str = param(
        "",
        "Hires prompt",
        help="Prompt of the second pass; empty uses the same.",
        lines=2,
        section="hires",
    )
    hr_negative_prompt: str = param(
        "",
        "Hires negative prompt",
        help="Negative prompt of the second pass; empty uses the same.",
        lines=2,
        section="hires",
    )

    @property
    def result_size(self) -> tuple[int, int]:
        """Return width and height of its images in pixels, after the second pass if there is one."""
        if not self.enable_hr:
            return super().result_size
        size = hires_size(self)
        return size.width, size.height


@dataclass(frozen=True)
class HiresSize:
    """Size of the hires pass.

    Args:
        upscaled_width: Width after upscaling, in pixels; not always a multiple of 8.
        upscaled_height: Likewise.
        crop_columns: Columns of SIZE_STEP pixels that are then cropped, half of them at either side.
        crop_rows: Likewise.
    """

    upscaled_width: int
    upscaled_height: int
    crop_columns: int = 0
    crop_rows: int = 0

    @property
    def before_crop(self) -> tuple[int, int]:
        """Return width and height of the upscaled image, in pixels."""
        return self.upscaled_width, self.upscaled_height

    @property
    def width(self) -> int:
        """Return the width of the finished image in pixels, a multiple of 8."""
        return (self.upscaled_width // SIZE_STEP - self.crop_columns) * SIZE_STEP

    @property
    def height(self) -> int:
        """Return the height of the finished image in pixels, a multiple of 8."""
        return (self.upscaled_height // SIZE_STEP - self.crop_rows) * SIZE_STEP


def hires_size(request: Txt2ImgRequest) -> HiresSize:
    """Return the size of the hires pass, calculated as in A1111.

    "Resize to" has precedence over "Upscale by". If it has both sides, the image covers them in its own
    proportions and the excess is cropped; if it has one, the other keeps the proportions.
    """
    width, height = request.width, request.height
    to_width, to_height = request.hr_resize_x, request.hr_resize_y
    if not to_width and not to_height:
        return HiresSize(int(width * request.hr_scale), int(height * request.hr_scale))
    # The image covers both sides if it is scaled to the width, where it is narrower than the target.
    scales_to_width = not to_height or (to_width and width / height < to_width / to_height)
    if scales_to_width:
        upscaled = to_width, to_width * height // width
    else:
        upscaled = to_height * width // height, to_height
    if not to_width or not to_height:
        return HiresSize(*upscaled)
    return HiresSize(
        *upscaled,
        (upscaled[0] - to_width) // SIZE_STEP,
        (upscaled[1] - to_height) // SIZE_STEP,
    )


def hires_pass_request(request: Txt2ImgRequest) -> Img2ImgRequest:
    """Return the request of the hires pass. It has no init image: the backend passes the latents of the first pass.

    Raises:
        UserError: the second pass is too large or too small.
    """
    size = hires_size(request)
    common_fields = {name: getattr(request, name) for name in GenerationRequest.model_fields}
    hires_fields = {
        "width": size.width,
        "height": size.height,
        "steps": request.hr_second_pass_steps or request.steps,
        "sampler_name": _unless_same(request.hr_sampler_name) or request.sampler_name,
        "scheduler": _unless_same(request.hr_scheduler) or request.scheduler,
        "sd_model_checkpoint": _unless_same(request.hr_checkpoint_name)
        or request.sd_model_checkpoint,
        "prompt": request.hr_prompt or request.prompt,
        "negative_prompt": request.hr_negative_prompt or request.negative_prompt,
        "denoising_strength": request.denoising_strength,
    }
    request_class = Img2ImgRequest.with_settings(request.settings_class)
    return validate(request_class, {**common_fields, **hires_fields})


def _unless_same(name: str) -> str:
    """Return the name, or an empty string for "Use same sampler" and the like, which A1111's clients send for none."""
    return "" if name.casefold().startswith("use same") else name
