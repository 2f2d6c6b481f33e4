"""Depth of an image: estimated by MiDaS's DPT hybrid, and converted to concat conditioning or a depth map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import DPTForDepthEstimation

from modules.backend.memory.offload import execution_device
from modules.core.errors import NotFinite
from modules.images.depth_levels import NO_ADJUSTMENT, DepthLevels
from modules.images.resize import crop_and_resize
from modules.models.ldm.depth import DEPTH_PATCH_SIZE

_MAX_DEPTH_VALUE = 65535  # the nearest value of a 16-bit depth map
_SIZE_MULTIPLE = 32  # sizes that the estimator's convolutions halve without remainder


def estimate(estimator: DPTForDepthEstimation, image: Image.Image) -> Tensor:
    """Return the inverse depth of every pixel, without a unit: near is large.

    The aspect ratio is preserved, see `estimator_input_size`; pixels are normalised to -1 to 1, as MiDaS does for
    dpt_hybrid (midas/transforms.py: Resize "minimal" with cv2's INTER_CUBIC, NormalizeImage with 0.5 and 0.5).

    Args:
        estimator: Of the checkpoint.
        image: RGB, of any size.

    Returns:
        float32 [1, height, width] at the estimator's input size, on its device.

    Raises:
        NotFinite: the estimator produced NaN or infinity.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()[None]
    pixels = pixels.to(execution_device(estimator), torch.float32) / 255
    side = cast("int", estimator.config.image_size)  # set by make_dpt_config
    width, height = estimator_input_size(image.width, image.height, side)
    scaled = functional.interpolate(pixels, size=(height, width), mode="bicubic")
    return estimate_at_size(estimator, (scaled - 0.5) / 0.5)


def estimate_at_size(estimator: DPTForDepthEstimation, pixels: Tensor) -> Tensor:
    """Return the inverse depth of every pixel, without a unit: near is large.

    Args:
        estimator: Of MiDaS's DPT hybrid.
        pixels: float32 [1, 3, height, width] on its device, -1 to 1; both sides multiples of 32.

    Returns:
        float32 [1, height, width].

    Raises:
        NotFinite: the estimator produced NaN or infinity.
    """
    with _input_size(estimator, pixels.shape[2], pixels.shape[3]):
        output = estimator(pixels.to(estimator.dtype))
    depth = output.predicted_depth.float()
    if not bool(torch.isfinite(depth).all()):
        raise NotFinite(
            "The depth estimator produced invalid numbers.",
            "Provide a depth map, or try another checkpoint.",
        )
    return depth


def estimator_input_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height of the image that MiDaS estimates depth from.

    Of the two scales that bring width or height to `side`, the one nearer to 1 is used for both ("minimal"): of an
    image larger than that, the shorter side becomes `side`. Both are rounded to multiples of 32.

    Args:
        width: Of the image.
        height: Likewise.
        side: The size that the estimator was trained on, 384 for the published one.
    """
    scale = min(side / height, side / width, key=lambda ratio: abs(1 - ratio))
    scaled = (
        max(_SIZE_MULTIPLE, round(scale * length / _SIZE_MULTIPLE) * _SIZE_MULTIPLE)
        for length in (width, height)
    )
    return next(scaled), next(scaled)


def to_concat_cond(
    depth: Tensor, cells: tuple[int, int], levels: DepthLevels = NO_ADJUSTMENT
) -> Tensor:
    """Return the concat conditioning of a depth checkpoint.

    As in LDM (LatentDepth2ImageDiffusion, ddpm.py): bicubic, then normalised so that the nearest value is 1 and the
    farthest -1; a plane, for which LDM would divide by zero, becomes 0.

    Args:
        depth: Inverse depth or a depth map, [1, any, any].
        cells: Rows and columns of the latents.
        levels: Adjustment of the normalised depth.

    Returns:
        float32 [1, 1, rows, columns].
    """
    small = functional.interpolate(depth[:, None].float(), size=cells, mode="bicubic")
    return levels(_normalize(small)) * 2 - 1 if _value_range(small) else torch.zeros_like(small)


def to_depth_map(
    depth: Tensor, width: int, height: int, levels: DepthLevels = NO_ADJUSTMENT
) -> Image.Image:
    """Return depth as a greyscale image: white is near. It can be used as a depth map."""
    grey = (levels(_normalize(depth[0])) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)


def from_depth_map(image: Image.Image, width: int, height: int) -> Tensor:
    """Return a depth map, cropped and resized, as depth: float32 [1, height, width], 0 (far) to 1 (near).

    Args:
        image: 16-bit greyscale, white is near.
        width: Of the image.
        height: Likewise.
    """
    values = Image.fromarray(np.asarray(image).astype(np.float32) / _MAX_DEPTH_VALUE)
    return torch.from_numpy(np.array(crop_and_resize(values, width, height)))[None]


def _value_range(values: Tensor) -> float:
    return float(values.max() - values.min())


def _normalize(values: Tensor) -> Tensor:
    """Return the values scaled to 0 to 1; all equal values become 0."""
    return (values - values.min()) / (_value_range(values) or 1.0)


@contextmanager
def _input_size(estimator: DPTForDepthEstimation, height: int, width: int) -> Iterator[None]:
    """Temporarily let the estimator take an image of another size than its configured square.

    transformers' hybrid DPT insists on its configured size and assumes a square of patches, although everything
    between works for any size, position embeddings included.
    """
    # Any: transformers' annotations cover every DPT at once, those without patches included.
    embeddings: Any = estimator.dpt.embeddings
    stage: Any = estimator.neck.reassemble_stage
    configured_size = embeddings.image_size

    def with_patch_counts(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        return (args[0], height // DEPTH_PATCH_SIZE, width // DEPTH_PATCH_SIZE)

    hook = stage.register_forward_pre_hook(with_patch_counts)
    embeddings.image_size = (height, width)
    try:
        yield
    finally:
        embeddings.image_size = configured_size
        hook.remove()
