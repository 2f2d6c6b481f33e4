"""The latents of the demo models, defined by a formula instead of learned.

Channels 0 to 2 are the mean color of every 8x8 block, whitened; channel 3 is the outline: how much
luminance changes inside the block. So the UNet can be trained before any VAE exists, the VAE
encoder is built to compute exactly this (`vae.py`), and only the decoder has to be trained.
"""

from __future__ import annotations

import torch
from torch.nn import functional

BLOCK = 8
# Mean and ZCA whitening of the block colors (-1 to 1) over 2000 scenes of 128x128 pixels.
COLOR_MEAN = (0.0673, -0.0038, -0.0029)
WHITENING = (
    (1.9855, -0.7239, 0.0160),
    (-0.7239, 2.9698, -0.8072),
    (0.0160, -0.8072, 2.1705),
)
LUMINANCE = (0.35, 0.45, 0.2)
OUTLINE_MEAN, OUTLINE_SCALE = 0.0174, 18.0  # a standard deviation of 0.7, peaks near 5


def to_tensor(pictures: torch.Tensor) -> torch.Tensor:
    """Return uint8 [batch, height, width, 3] as float32 [batch, 3, height, width], -1 to 1."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def softened_abs(x: torch.Tensor) -> torch.Tensor:
    """Return x tanh(5 x), which is (silu(10 x) + silu(-10 x)) / 10: what two SiLUs can compute."""
    return x * torch.tanh(5 * x)


def raw_latents(images: torch.Tensor) -> torch.Tensor:
    """Return block means and block outline, not yet normalized, [batch, 4, h / 8, w / 8].

    Beyond the right and bottom edge lies 0, as in the zero padding of the convolution that
    computes the same in the encoder.
    """
    means = functional.avg_pool2d(images, BLOCK)
    weights = torch.tensor(LUMINANCE, device=images.device).view(1, 3, 1, 1)
    luminance = functional.pad((images * weights).sum(1, keepdim=True), (0, 1, 0, 1))
    here = luminance[..., :-1, :-1]
    change = softened_abs(luminance[..., :-1, 1:] - here) + softened_abs(
        luminance[..., 1:, :-1] - here
    )
    return torch.cat([means, functional.avg_pool2d(change, BLOCK)], 1)


def normalize(raw: torch.Tensor) -> torch.Tensor:
    """Return raw latents with about zero mean and unit variance per channel."""
    mean = torch.tensor(COLOR_MEAN, device=raw.device).view(1, 3, 1, 1)
    whitening = torch.tensor(WHITENING, device=raw.device)
    colors = torch.einsum("bkhw,kc->bchw", raw[:, :3] - mean, whitening)
    return torch.cat([colors, (raw[:, 3:] - OUTLINE_MEAN) * OUTLINE_SCALE], 1)


def latents_of(images: torch.Tensor) -> torch.Tensor:
    """Return the latents [batch, 4, h / 8, w / 8] of images [batch, 3, h, w] from -1 to 1."""
    return normalize(raw_latents(images))


def thumbnails(latents: torch.Tensor) -> torch.Tensor:
    """Return the block colors of latents, [batch, 3, h, w] from -1 to 1: a preview without VAE."""
    inverse = torch.linalg.inv(torch.tensor(WHITENING, device=latents.device))
    mean = torch.tensor(COLOR_MEAN, device=latents.device).view(1, 3, 1, 1)
    return torch.einsum("bkhw,kc->bchw", latents[:, :3], inverse) + mean
