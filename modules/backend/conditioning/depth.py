"""The depth of a picture, as MiDaS's DPT hybrid estimates it, and as a depth checkpoint sees it."""

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

from modules.images.depth_levels import NO_ADJUSTMENT, DepthLevels
from modules.images.resize import crop_and_resize
from modules.models.ldm.depth import DEPTH_PATCH_SIZE

_DEEPEST = 65535  # the nearest level of a depth map
_MULTIPLE = 32  # the sides that the estimator's convolutions halve without a rest


def estimate(estimator: DPTForDepthEstimation, image: Image.Image) -> Tensor:
    """Return the inverse depth of every pixel, in no unit: near is large.

    Proportions are kept, see `estimated_size`; pixels run from -1 to 1. As MiDaS prepares pictures for dpt_hybrid
    (midas/transforms.py: Resize "minimal" with cv2's INTER_CUBIC, NormalizeImage with 0.5 and 0.5).

    Args:
        estimator: The checkpoint's own.
        image: RGB, of any size.

    Returns:
        float32 [1, height, width] of the size at which it was estimated, on the estimator's device.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    pixels = pixels.to(estimator.device, torch.float32) / 255
    side = cast("int", estimator.config.image_size)  # as depth_layout gives it
    width, height = estimator_input_size(image.width, image.height, side)
    scaled = functional.interpolate(pixels, size=(height, width), mode="bicubic")
    with _of_size(estimator, height, width):
        answer = estimator(((scaled - 0.5) / 0.5).to(estimator.dtype))
    return answer.predicted_depth.float()


def estimator_input_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height at which MiDaS looks at a picture.

    Of the two scales that make a side the estimator's own, it takes the one nearer to 1 for both sides ("minimal"):
    in a picture larger than the estimator the shorter side becomes its own. Both are rounded to multiples of 32.

    Args:
        width: Of the picture.
        height: Likewise.
        side: What the estimator was trained on, 384 for the published one.
    """
    scale = min(side / height, side / width, key=lambda one: abs(1 - one))
    scaled = (max(_MULTIPLE, round(scale * one / _MULTIPLE) * _MULTIPLE) for one in (width, height))
    return next(scaled), next(scaled)


def to_concat_cond(
    depth: Tensor, width: int, height: int, levels: DepthLevels = NO_ADJUSTMENT
) -> Tensor:
    """Return what a depth checkpoint sees beside the latents.

    As in LDM (LatentDepth2ImageDiffusion, ddpm.py): bicubic, then stretched so that the nearest becomes 1 and the
    farthest -1; a plane, which LDM would divide by zero, becomes 0.

    Args:
        depth: Inverse depth or a depth map, [1, any, any].
        width: Of the picture in pixels.
        height: Likewise.
        levels: How it is adjusted once it is stretched.

    Returns:
        float32 [1, 1, height / 8, width / 8].
    """
    size = (height // 8, width // 8)
    small = functional.interpolate(depth[:, None].float(), size=size, mode="bicubic")
    return levels(_stretched(small)) * 2 - 1 if _span(small) else torch.zeros_like(small)


def to_depth_map(
    depth: Tensor, width: int, height: int, levels: DepthLevels = NO_ADJUSTMENT
) -> Image.Image:
    """Return depth as a picture in grey: white is near. It can be given back as a depth map."""
    grey = (levels(_stretched(depth[0])) * 255).round().to(torch.uint8).cpu().numpy()
    return Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)


def from_depth_map(image: Image.Image, width: int, height: int) -> Tensor:
    """Return a depth map, cut to a size, as depth: float32 [1, height, width], 0 (far) to 1 (near).

    Args:
        image: 16 bits of grey, white for near.
        width: Of the picture.
        height: Likewise.
    """
    deep = Image.fromarray(np.asarray(image).astype(np.float32) / _DEEPEST)
    return torch.from_numpy(np.array(crop_and_resize(deep, width, height)))[None]


def _span(values: Tensor) -> float:
    return float(values.max() - values.min())


def _stretched(values: Tensor) -> Tensor:
    """Return the values from 0 to 1; equal ones as 0."""
    return (values - values.min()) / (_span(values) or 1.0)


@contextmanager
def _of_size(estimator: DPTForDepthEstimation, height: int, width: int) -> Iterator[None]:
    """Let the estimator take a picture that is not its own square, for a while.

    transformers' hybrid DPT insists on its configured size and takes the patches for a square, although everything
    between is made for any size, position embeddings included.
    """
    # Any: transformers types the parts of every DPT at once, those without patches included.
    embeddings: Any = estimator.dpt.embeddings
    stage: Any = estimator.neck.reassemble_stage
    own = embeddings.image_size

    def with_patches(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        return (given[0], height // DEPTH_PATCH_SIZE, width // DEPTH_PATCH_SIZE)

    hook = stage.register_forward_pre_hook(with_patches)
    embeddings.image_size = (height, width)
    try:
        yield
    finally:
        embeddings.image_size = own
        hook.remove()
