"""Upscaling of finished images, as in A1111's Extras."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from PIL.Image import Resampling

from modules.core.errors import Unsupported, UserError
from modules.core.registry import Registry
from modules.models.upscalers import LatentFilter, Upscaler
from modules.params.image import ImageField
from modules.params.image_decoding import MAX_PIXELS
from modules.params.requests.extras import ExtrasRequest
from modules.plan.work import Enlarge


def upscale(
    image: ImageField,
    request: ExtrasRequest,
    upscalers: Registry[Upscaler],
    enlarge: Callable[[Enlarge], Image.Image],
) -> tuple[Image.Image, str]:
    """Return the upscaled image and A1111's infotext of the postprocessing.

    Args:
        image: The image.
        request: The extras request.
        upscalers: All upscalers; those for latents are refused.
        enlarge: Has the device enlarge an image.

    Raises:
        NotFound: there is no such upscaler.
        Unsupported: face restoration is requested, or the upscaler works on latents.
        UserError: the new image would be too large.
    """
    if request.gfpgan_visibility or request.codeformer_visibility:
        raise Unsupported(
            "There is no face restorer in this version.",
            "Set gfpgan_visibility and codeformer_visibility to 0.",
        )
    first = _resampling(request.upscaler_1, upscalers)
    second = _resampling(request.upscaler_2, upscalers)
    if first is None:
        return image.to_pil(), ""
    size = _upscaled_size(image, request)
    visibility = request.extras_upscaler_2_visibility
    work = Enlarge(image, size, first, second if visibility else None, visibility)
    upscaled = enlarge(work)
    pairs = {"Postprocess upscaler": request.upscaler_1}
    if work.second is not None:
        pairs["Postprocess upscaler 2"] = request.upscaler_2
    if request.resize_mode == 0:
        pairs = {"Postprocess upscale by": f"{request.upscaling_resize:g}", **pairs}
        return upscaled, _format_pairs(pairs)
    width, height = request.upscaling_resize_w, request.upscaling_resize_h
    pairs = {"Postprocess upscale to": f"{width}x{height}", **pairs}
    if request.upscaling_crop:
        left, top = (upscaled.width - width) // 2, (upscaled.height - height) // 2
        upscaled = upscaled.crop((left, top, left + width, top + height))
        pairs["Postprocess crop to"] = f"{width}x{height}"
    return upscaled, _format_pairs(pairs)


def _resampling(name: str, upscalers: Registry[Upscaler]) -> Resampling | None:
    if not name:
        return None
    resampling = upscalers.get(name).resampling
    if isinstance(resampling, LatentFilter):
        raise Unsupported(
            f"'{name}' upscales latents, not finished pictures.",
            "Use Lanczos or Nearest.",
        )
    return resampling


def _upscaled_size(image: ImageField, request: ExtrasRequest) -> tuple[int, int]:
    """Return the size after upscaling, before the crop."""
    scale = request.upscaling_resize
    if request.resize_mode == 1:
        scale = max(
            request.upscaling_resize_w / image.size[0],
            request.upscaling_resize_h / image.size[1],
        )
    width, height = (max(1, round(side * scale)) for side in image.size)
    if width * height > MAX_PIXELS:
        raise UserError(
            f"The picture would have {width}x{height} pixels; at most {MAX_PIXELS} are allowed.",
            "Use a smaller size.",
        )
    return width, height


def _format_pairs(pairs: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in pairs.items())
