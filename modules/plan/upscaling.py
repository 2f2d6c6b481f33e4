"""PlannedUpscaler: an upscaler with the options by which it runs, frozen; and which results are too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from modules.core.errors import Unsupported, UserError
from modules.images.inpaint.canvas import encoded_size
from modules.models.upscaling.architectures import get_architecture
from modules.models.upscaling.upscalers import Upscaler, UpscalerModel
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings.upscaling import UpscalingSettings

# Pillow keeps 4 bytes a pixel: of the result, of what it is shrunk from, and of the row of tiles that is added.
RESULT_BYTES_PER_PIXEL = 12


class Tiles(NamedTuple):
    """How an image is divided for a network.

    Args:
        size: Side of the tiles in pixels of the image; 0 takes the image whole.
        overlap: By how many pixels neighbours overlap.
    """

    size: int
    overlap: int


WHOLE_IMAGE = Tiles(0, 0)


@dataclass(frozen=True)
class PlannedUpscaler:
    """An upscaler and how it runs in one job.

    Args:
        upscaler: Of a table or a file; a file is known to have a network of a known architecture.
        tiles: For a network.
    """

    upscaler: Upscaler
    tiles: Tiles = WHOLE_IMAGE


def plan_upscaler(upscaler: Upscaler, settings: UpscalingSettings) -> PlannedUpscaler:
    """Return an upscaler, as `UpscalerList.get` returns it, with the options that count for it."""
    if not isinstance(upscaler.method, UpscalerModel):
        return PlannedUpscaler(upscaler)
    prefix = get_architecture(upscaler.method.architecture).tile_options
    size: int = getattr(settings, f"{prefix}_tile")
    overlap: int = getattr(settings, f"{prefix}_tile_overlap")
    return PlannedUpscaler(upscaler, Tiles(size, min(overlap, max(0, size - 1))))


def plan_image_upscaler(upscaler: Upscaler, settings: UpscalingSettings) -> PlannedUpscaler:
    """Return an upscaler for finished images with the options that count for it.

    Raises:
        Unsupported: it upscales latents.
    """
    if upscaler.is_latent:
        raise Unsupported(
            f"'{upscaler.name}' upscales latents, not finished pictures.",
            "Use Lanczos, Nearest or a model file.",
        )
    return plan_upscaler(upscaler, settings)


def enlarges_init_image(request: GenerationRequest) -> bool:
    """Return whether an init image, or the part of it that is repainted, may have to become larger."""
    if not isinstance(request, InitImageRequest) or request.init_image is None:
        return False
    width, height = request.init_image.size
    target = request.width, request.height
    if isinstance(request, Img2ImgRequest):
        if request.inpaint_full_res and request.has_mask:
            return True
        target = encoded_size(request)
    return max(target[0] / width, target[1] / height) > 1


def check_result_size(size: tuple[int, int], settings: UpscalingSettings) -> None:
    """Refuse a result with too many pixels.

    Raises:
        UserError: with its pixels and memory.
    """
    width, height = size
    limit = settings.upscaling_max_megapixels
    if width * height > limit * 1_000_000:
        needed = width * height * RESULT_BYTES_PER_PIXEL / 1e9
        raise UserError(
            f"The picture would have {width}x{height} pixels, {width * height / 1e6:.0f} million, and need about "
            f"{needed:.1f} GB of memory; at most {limit} million are allowed.",
            "Use a smaller size, or raise 'Largest result of upscaling' in the settings.",
        )
