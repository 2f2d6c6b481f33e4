"""What the second pass of hires fix is asked to do, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass

from modules.params.img2img import Img2ImgRequest
from modules.params.param import validated
from modules.params.request import GenerationRequest
from modules.params.txt2img import Txt2ImgRequest

CELL = 8  # pixels to a side of a latent cell


@dataclass(frozen=True)
class HiresSize:
    """How large a picture becomes.

    Args:
        enlarged_width: To which the upscaler enlarges it, in pixels; perhaps no multiple of 8.
        enlarged_height: Likewise.
        cut_columns: Latent cells that are then cut off its width, half of them on either side.
        cut_rows: Likewise of its height.
    """

    enlarged_width: int
    enlarged_height: int
    cut_columns: int = 0
    cut_rows: int = 0

    @property
    def width(self) -> int:
        """Return the width of the finished picture in pixels, a multiple of 8."""
        return (self.enlarged_width // CELL - self.cut_columns) * CELL

    @property
    def height(self) -> int:
        """Return the height of the finished picture in pixels, a multiple of 8."""
        return (self.enlarged_height // CELL - self.cut_rows) * CELL


def hires_size(request: Txt2ImgRequest) -> HiresSize:
    """Return how large the second pass is, as A1111 reckons it.

    "Resize to" comes before "Upscale by". With both of its sides given, the picture covers them in its own
    proportions, and what sticks out is cut off; with one, the other follows.
    """
    width, height = request.width, request.height
    to_width, to_height = request.hr_resize_x, request.hr_resize_y
    if not to_width and not to_height:
        return HiresSize(int(width * request.hr_scale), int(height * request.hr_scale))
    follows_width = not to_height or (to_width and width / height < to_width / to_height)
    if follows_width:
        enlarged = to_width, to_width * height // width
    else:
        enlarged = to_height * width // height, to_height
    if not to_width or not to_height:
        return HiresSize(*enlarged)
    return HiresSize(*enlarged, (enlarged[0] - to_width) // CELL, (enlarged[1] - to_height) // CELL)


def second_request(request: Txt2ImgRequest) -> Img2ImgRequest:
    """Return what the second pass is asked to do: to repaint the enlarged picture, whose latents it is given.

    Raises:
        UserError: the second pass is too large or too small.
    """
    size = hires_size(request)
    common = {name: getattr(request, name) for name in GenerationRequest.model_fields}
    own = {
        "width": size.width,
        "height": size.height,
        "steps": request.hr_second_pass_steps or request.steps,
        "sampler_name": _own(request.hr_sampler_name) or request.sampler_name,
        "scheduler": _own(request.hr_scheduler) or request.scheduler,
        "sd_model_checkpoint": _own(request.hr_checkpoint_name) or request.sd_model_checkpoint,
        "prompt": request.hr_prompt or request.prompt,
        "negative_prompt": request.hr_negative_prompt or request.negative_prompt,
        "denoising_strength": request.denoising_strength,
    }
    return validated(Img2ImgRequest, {**common, **own})


def _own(name: str) -> str:
    """Return the second pass's own choice; A1111's clients say "Use same sampler" for none."""
    return "" if name.casefold().startswith("use same") else name
