"""Finished pictures made larger, as A1111's Extras do."""

from __future__ import annotations

from PIL import Image
from PIL.Image import Resampling

from modules.core.errors import Unsupported, UserError
from modules.core.registry import Registry
from modules.models.upscalers import Upscaler
from modules.params.image_decoding import MAX_PIXELS
from modules.params.requests.extras import ExtrasRequest

_NONE = "None"


def upscale(
    image: Image.Image, request: ExtrasRequest, upscalers: Registry[Upscaler]
) -> tuple[Image.Image, str]:
    """Return the picture as it was asked to become, and A1111's words on what was done.

    Args:
        image: RGB.
        request: What to do.
        upscalers: The known ones; those of latents have no use here.

    Raises:
        NotFound: there is no such upscaler.
        Unsupported: faces are to be restored, or the upscaler works on latents.
        UserError: the new picture would be too large.
    """
    if request.gfpgan_visibility or request.codeformer_visibility:
        raise Unsupported(
            "There is no face restorer in this version.",
            "Set gfpgan_visibility and codeformer_visibility to 0.",
        )
    first = _upscaler(request.upscaler_1, upscalers)
    second = _upscaler(request.upscaler_2, upscalers)
    if first is None:
        return image, ""
    size = _size(image, request)
    made = image.resize(size, first)
    told = {"Postprocess upscaler": request.upscaler_1}
    if second is not None and request.extras_upscaler_2_visibility:
        other = image.resize(size, second)
        made = Image.blend(made, other, request.extras_upscaler_2_visibility)
        told["Postprocess upscaler 2"] = request.upscaler_2
    if request.resize_mode == 0:
        return made, _line({"Postprocess upscale by": f"{request.upscaling_resize:g}", **told})
    wanted = request.upscaling_resize_w, request.upscaling_resize_h
    told = {"Postprocess upscale to": f"{wanted[0]}x{wanted[1]}", **told}
    if request.upscaling_crop:
        left, top = ((made.size[side] - wanted[side]) // 2 for side in (0, 1))
        made = made.crop((left, top, left + wanted[0], top + wanted[1]))
        told["Postprocess crop to"] = f"{wanted[0]}x{wanted[1]}"
    return made, _line(told)


def _upscaler(name: str, upscalers: Registry[Upscaler]) -> Resampling | None:
    if name in ("", _NONE):
        return None
    how = upscalers.get(name).resampling
    if not isinstance(how, Resampling):
        raise Unsupported(
            f"'{name}' enlarges latents, and a finished picture has none.",
            "Use Lanczos or Nearest.",
        )
    return how


def _size(image: Image.Image, request: ExtrasRequest) -> tuple[int, int]:
    """Return the size to which the picture is enlarged, before it is cropped."""
    scale = request.upscaling_resize
    if request.resize_mode == 1:
        scale = max(
            request.upscaling_resize_w / image.width, request.upscaling_resize_h / image.height
        )
    width, height = (max(1, round(side * scale)) for side in image.size)
    if width * height > MAX_PIXELS:
        raise UserError(
            f"The picture would have {width}x{height} pixels; at most {MAX_PIXELS} are made.",
            "Enlarge it less.",
        )
    return width, height


def _line(told: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in told.items())
