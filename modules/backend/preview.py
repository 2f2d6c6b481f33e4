"""Previews of latents: a linear map to RGB, fitted to the checkpoint's VAE."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from modules.backend.memory.offload import execution_device
from modules.backend.vae import denormalize

# Enough flat patches for five unknowns per colour; a full-size VAE decodes them in about a second on a CPU.
_PATCHES = 24
_PATCH_SIZE = 2


class LatentToRgb:
    """Maps latents to a small RGB image, one pixel per latent cell.

    Args:
        weights: [channels + 1, 3]; the last row is the bias. Colours are -1 to 1.
    """

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, vae: AutoencoderKL) -> LatentToRgb:
        """Return the least-squares map from uniform latents to the mean colour the VAE decodes them to."""
        generator = torch.Generator("cpu").manual_seed(0)
        channels = vae.config["latent_channels"]
        flat = torch.randn((_PATCHES, channels, 1, 1), generator=generator)
        latents = flat.expand(-1, -1, _PATCH_SIZE, _PATCH_SIZE).to(execution_device(vae), vae.dtype)
        decoded = vae.decode(denormalize(vae, latents), return_dict=False)[0]
        colours = decoded.float().mean(dim=(2, 3)).cpu()  # [patches, 3]
        inputs = torch.cat([flat[:, :, 0, 0], torch.ones(_PATCHES, 1)], dim=1)
        return cls(torch.linalg.lstsq(inputs, colours).solution)

    def __call__(self, latents: Tensor) -> Image.Image:
        """Return the batch side by side, at one pixel per latent cell."""
        return Image.fromarray(self.pixels(latents).cpu().numpy())

    def pixels(self, latents: Tensor) -> Tensor:
        """Return the same as uint8 [height, width, 3] on the device of the latents, for which nobody has to wait."""
        self._weights = weights = self._weights.to(latents.device)
        cells = latents.float().permute(0, 2, 3, 1)  # [batch, height, width, channels]
        colours = cells @ weights[:-1] + weights[-1]
        row = torch.cat(list(colours), dim=1)
        return ((row.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)
