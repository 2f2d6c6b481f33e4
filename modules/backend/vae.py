"""Latents to pictures."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from modules.core.errors import NotFinite


def decode(vae: AutoencoderKL, latents: Tensor) -> Image.Image:
    """Return one picture.

    Args:
        vae: The checkpoint's VAE.
        latents: [1, channels, height / 8, width / 8], scaled as the UNet knows them.

    Raises:
        NotFinite: the VAE produced NaN or infinity.
    """
    scaled = latents.to(vae.device, vae.dtype) / vae.config["scaling_factor"]
    decoded = vae.decode(scaled, return_dict=False)[0][0].float()
    if not bool(torch.isfinite(decoded).all()):
        raise NotFinite(
            "The VAE produced invalid numbers, so there is no picture to show.",
            "Try another checkpoint.",
        )
    # A1111 truncates to whole levels, it does not round.
    pixels = (((decoded + 1) / 2).clamp(0, 1) * 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
