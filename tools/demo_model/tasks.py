"""What the UNets of the special models get in addition to the noisy latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional

from tools.demo_model.latents import BLOCK, latents_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tools.demo_model.ldm_keys import Weights


@dataclass(frozen=True)
class Task:
    """A kind of model: the channels of its UNet, and how the added ones are made.

    Attributes:
        in_channels: Input channels of the UNet.
        extra: From images [batch, 3, h, w], depth [batch, 1, h, w] and a random generator to the
            added channels [batch, in_channels - 4, h / 8, w / 8].
    """

    in_channels: int
    extra: Callable[[torch.Tensor, torch.Tensor, random.Random], torch.Tensor | None]


def random_mask(width: int, height: int, rng: random.Random) -> torch.Tensor:
    """Return a mask [1, height, width], 1 where to paint: everything, a box, a disc or strokes."""
    mask = Image.new("L", (width, height))
    pen, kind = ImageDraw.Draw(mask), rng.random()
    if kind < 0.2:
        return torch.ones(1, height, width)
    x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height
    a, b = rng.uniform(0.12, 0.45) * width, rng.uniform(0.12, 0.45) * height
    if kind < 0.55:
        pen.rectangle((x - a, y - b, x + a, y + b), fill=1)
    elif kind < 0.8:
        pen.ellipse((x - a, y - b, x + a, y + b), fill=1)
    else:
        points = [(rng.random() * width, rng.random() * height) for _ in range(rng.randint(2, 4))]
        pen.line(points, fill=1, width=int(rng.uniform(0.12, 0.25) * min(width, height)))
    return torch.from_numpy(np.asarray(mask).copy()).float()[None]


def inpaint_channels(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return mask and latents of what the mask leaves, [batch, 5, h / 8, w / 8].

    Args:
        images: [batch, 3, height, width], -1 to 1.
        masks: [batch, 1, height, width], 1 where to paint; the picture is gray (0) there.
    """
    small = functional.interpolate(masks, scale_factor=1 / BLOCK, mode="nearest")
    return torch.cat([small, latents_of(images * (masks < 0.5))], 1)


def depth_channel(depth: torch.Tensor) -> torch.Tensor:
    """Return depth [batch, 1, h / 8, w / 8], stretched to -1 (far) to 1 (near) in each picture."""
    small = functional.avg_pool2d(depth, BLOCK)
    low, high = small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True)
    return 2 * (small - low) / (high - low).clamp(min=1e-3) - 1


def _inpaint(images: torch.Tensor, _depth: torch.Tensor, rng: random.Random) -> torch.Tensor:
    height, width = images.shape[-2:]
    masks = torch.stack([random_mask(width, height, rng) for _ in images])
    return inpaint_channels(images, masks.to(images.device))


def _depth(_images: torch.Tensor, depth: torch.Tensor, _rng: random.Random) -> torch.Tensor:
    return depth_channel(depth)


def _nothing(_images: torch.Tensor, _depth: torch.Tensor, _rng: random.Random) -> None:
    return None


TASKS = {
    "text": Task(4, _nothing),
    "inpaint": Task(9, _inpaint),
    "depth": Task(5, _depth),
}


def widen(weights: Weights, in_channels: int) -> Weights:
    """Return UNet weights whose first convolution ignores the added input channels at first."""
    first = weights["conv_in.weight"]
    missing = in_channels - first.shape[1]
    if missing == 0:
        return weights
    zeros = torch.zeros(len(first), missing, *first.shape[2:], device=first.device)
    return {**weights, "conv_in.weight": torch.cat([first, zeros], 1)}
