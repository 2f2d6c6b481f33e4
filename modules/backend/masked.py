"""What inpainting checkpoints see beside the latents: a mask and the latents of what it leaves."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.backend.loader import Components


def nothing_kept(components: Components, width: int, height: int) -> Tensor | None:
    """Return the channels that tell an inpainting UNet to paint everything; None for another UNet.

    As in A1111: a mask of ones and the latents of a grey picture, so that such a checkpoint makes a picture from
    words alone.

    Args:
        components: The checkpoint's parts.
        width: Of the picture, in pixels.
        height: Likewise.

    Returns:
        [1, 1 + latent channels, height / 8, width / 8], the mask first, on the UNet's device.
    """
    vae, unet = components.vae, components.unet
    channels = int(vae.config["latent_channels"])
    if unet.config["in_channels"] != 2 * channels + 1:
        return None
    grey = torch.zeros((1, 3, height, width), device=vae.device, dtype=vae.dtype)
    latents = vae.encode(grey, return_dict=False)[0].mode() * vae.config["scaling_factor"]
    return torch.cat([torch.ones_like(latents[:, :1]), latents], dim=1)
