"""What a picture from words alone is asked to be, with its second pass at a larger size."""

from __future__ import annotations

from modules.params.param import param
from modules.params.request import GenerationRequest


def _second_pass(request: Txt2ImgRequest) -> bool:
    return request.enable_hr


class Txt2ImgRequest(GenerationRequest):
    """A picture from words alone."""

    enable_hr: bool = param(
        False,
        "Hires. fix",
        help="Enlarges the picture and repaints it at the larger size.",
        section="hires",
    )
    hr_scale: float = param(
        2.0,
        "Upscale by",
        help="How many times larger the second pass is.",
        ge=1,
        le=8,
        slider=(1, 4, 0.05),
        section="hires",
    )
    hr_resize_x: int = param(
        0,
        "Resize width to",
        help="Width of the second pass; 0 follows the height, or the scale when both are 0.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="hires",
    )
    hr_resize_y: int = param(
        0,
        "Resize height to",
        help="Height of the second pass; 0 follows the width, or the scale when both are 0.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="hires",
    )
    hr_upscaler: str = param(
        "Latent",
        "Upscaler",
        help="How the first picture is enlarged before the second pass.",
        choices="hires upscalers",
        section="hires",
    )
    hr_second_pass_steps: int = param(
        0,
        "Hires steps",
        help="Steps of the second pass; 0 takes as many as the first has.",
        ge=0,
        le=1000,
        slider=(0, 150, 1),
        section="hires",
    )
    denoising_strength: float = param(
        0.7,
        "Denoising strength",
        help="How much the second pass may change; latent upscalers need at least 0.5.",
        infotext="Denoising strength",
        when=_second_pass,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="hires",
    )
    hr_checkpoint_name: str = param(
        "",
        "Hires checkpoint",
        help="Checkpoint of the second pass; empty takes the same.",
        choices="checkpoints",
        section="hires",
    )
    hr_sampler_name: str = param(
        "",
        "Hires sampling method",
        help="Sampler of the second pass; empty takes the same.",
        choices="samplers",
        section="hires",
    )
    hr_scheduler: str = param(
        "",
        "Hires schedule type",
        help="Schedule of the second pass; empty takes the same.",
        choices="schedules",
        section="hires",
    )
    hr_prompt: str = param(
        "",
        "Hires prompt",
        help="Prompt of the second pass; empty takes the same.",
        lines=2,
        section="hires",
    )
    hr_negative_prompt: str = param(
        "",
        "Hires negative prompt",
        help="Negative prompt of the second pass; empty takes the same.",
        lines=2,
        section="hires",
    )
