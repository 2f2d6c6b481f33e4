"""Upscaling of finished images, as in A1111's Extras."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from modules.core.errors import Unsupported
from modules.images.upscale import upscaled_size
from modules.models.upscaler_list import UpscalerList
from modules.params.image import ImageField
from modules.params.requests.extras import ExtrasRequest
from modules.params.settings import Settings
from modules.plan.upscaling import PlannedUpscaler, check_result_size, plan_image_upscaler
from modules.plan.work import Enlarge


def upscale(
    image: ImageField,
    request: ExtrasRequest,
    upscalers: UpscalerList,
    settings: Settings,
    enlarge: Callable[[Enlarge], Image.Image],
) -> tuple[Image.Image, str]:
    """Return the upscaled image and A1111's infotext of the postprocessing.

    Args:
        image: The image.
        request: The extras request.
        upscalers: All upscalers; those for latents are refused.
        settings: The options of upscaling.
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
    first = _plan(request.upscaler_1, upscalers, settings)
    second = _plan(request.upscaler_2, upscalers, settings)
    if first is None:
        return image.to_pil(), ""
    scale = _scale(image, request)
    check_result_size(upscaled_size(image.size, scale), settings)
    visibility = request.extras_upscaler_2_visibility
    work = Enlarge(image, first, scale, second if visibility else None, visibility)
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


def _plan(name: str, upscalers: UpscalerList, settings: Settings) -> PlannedUpscaler | None:
    """Return an upscaler, None for A1111's "None"."""
    upscaler = upscalers.get(name) if name else None
    if upscaler is None or upscaler.method is None:
        return None
    return plan_image_upscaler(upscaler, settings)


def _scale(image: ImageField, request: ExtrasRequest) -> float:
    if request.resize_mode == 0:
        return request.upscaling_resize
    width, height = image.size
    return max(request.upscaling_resize_w / width, request.upscaling_resize_h / height)


def _format_pairs(pairs: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in pairs.items())
