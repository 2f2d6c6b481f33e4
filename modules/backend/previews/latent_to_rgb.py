"""A linear map from latents to RGB, fitted to the checkpoint's VAE: the cheapest preview."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from modules.backend.memory.offload import execution_device
from modules.backend.vae import denormalize

# Enough flat patches for five unknowns per colour; a full-size VAE decodes them in about a second on a CPU.
_PATCHES = 24
PATCH_SIDE = 2


class FlatColours(NamedTuple):
    """What a VAE makes of uniform latents.

    Args:
        latents: [patches, channels], standard normal.
        colours: [patches, 3], the mean colour of each, -1 to 1.
    """

    latents: Tensor
    colours: Tensor

    @classmethod
    def of(cls, vae: AutoencoderKL) -> FlatColours:
        """Return the colours of a VAE."""
        generator = torch.Generator("cpu").manual_seed(0)
        channels = vae.config["latent_channels"]
        flat = torch.randn((_PATCHES, channels, 1, 1), generator=generator)
        latents = flat.expand(-1, -1, PATCH_SIDE, PATCH_SIDE).to(execution_device(vae), vae.dtype)
        decoded = vae.decode(denormalize(vae, latents), return_dict=False)[0]
        return cls(flat[:, :, 0, 0], decoded.float().mean(dim=(2, 3)).cpu())


class LatentToRgb:
    """Maps latents to a small RGB image, one pixel per latent cell.

    Args:
        weights: [channels + 1, 3]; the last row is the bias. Colours are -1 to 1.
    """

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, colours: FlatColours) -> LatentToRgb:
        """Return the least-squares map from uniform latents to the mean colour the VAE decodes them to."""
        inputs = torch.cat([colours.latents, torch.ones(len(colours.latents), 1)], dim=1)
        return cls(torch.linalg.lstsq(inputs, colours.colours).solution)

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 [batch, 3, height, width] on their device, one pixel per latent cell; about -1 to 1."""
        self._weights = weights = self._weights.to(latents.device)
        cells = latents.float().permute(0, 2, 3, 1)  # [batch, height, width, channels]
        return (cells @ weights[:-1] + weights[-1]).permute(0, 3, 1, 2)

    def __call__(self, latents: Tensor) -> Image.Image:
        """Return the batch side by side, at one pixel per latent cell."""
        return Image.fromarray(to_row(self.decode(latents)).cpu().numpy())


def to_row(pixels: Tensor) -> Tensor:
    """Return a batch of images side by side, uint8 [height, width, 3] on their device.

    Args:
        pixels: [batch, 3, height, width], -1 to 1, or a little beyond.
    """
    row = torch.cat(list(pixels.float().permute(0, 2, 3, 1)), dim=1)
    return ((row.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)
