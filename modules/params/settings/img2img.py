"""Options of img2img, named as in A1111."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class Img2ImgSettings(BaseModel):
    """How an init image is repainted, in addition to the request's own fields."""

    img2img_fix_steps: bool = param(
        False,
        "Exact steps",
        help="Runs exactly the requested number of steps; normally a smaller denoising strength runs fewer.",
        infotext="Exact steps",
        section="img2img",
    )
    img2img_color_correction: bool = param(
        False,
        "Color correction",
        help="Matches the colours of the result to the original picture.",
        infotext="Color correction",
        section="img2img",
    )
    initial_noise_multiplier: float = param(
        1.0,
        "Noise multiplier for img2img",
        help="How much noise the picture gets before it is repainted: below 1 the result is smoother, above 1 it has more detail.",
        infotext="Noise multiplier",
        ge=0,
        le=1.5,
        slider=(0, 1.5, 0.001),
        section="img2img",
    )
    hires_fix_refiner_pass: Literal["first pass", "second pass", "both passes"] = param(
        "second pass",
        "Hires. fix: pass of the refiner",
        help="Which of the two passes ends with the refiner, if one is chosen.",
        infotext="Hires refiner",
        section="hires",
    )
    img2img_extra_noise: float = param(
        0.0,
        "Extra noise",
        help="Additional noise in img2img and hires fix; more adds more new detail.",
        infotext="Extra noise",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="img2img",
    )
    inpainting_mask_weight: float = param(
        1.0,
        "Inpainting conditioning mask strength",
        help="How strictly an inpainting checkpoint ignores the content under the mask; 0 shows it everything.",
        infotext="Conditional mask weight",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="img2img",
    )
