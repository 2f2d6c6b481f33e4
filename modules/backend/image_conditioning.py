"""What some UNets see beside the latents, in a picture made from words alone: that there is no other picture."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.backend.loader import Components


def without_picture(components: Components, width: int, height: int) -> Tensor | None:
    """Return the channels that tell a UNet to paint everything anew; None for one that sees the latents alone.

    An inpainting UNet sees, as in A1111, a mask of ones and the latents of a grey picture. InstructPix2Pix sees zeros:
    its training dropped the picture so (Brooks et al. 2023, section 3.2.1).

    Args:
        components: The checkpoint's parts.
        width: Of the picture, in pixels.
        height: Likewise.

    Returns:
        [1, more channels, height / 8, width / 8], a mask first, on the UNet's device.
    """
    vae, unet = components.vae, components.unet
    channels = int(vae.config["latent_channels"])
    more = int(unet.config["in_channels"]) - channels
    if more == channels:
        shape = (1, channels, height // 8, width // 8)
        return torch.zeros(shape, device=unet.device, dtype=unet.dtype)
    if more == channels + 1:
        grey = torch.zeros((1, 3, height, width), device=vae.device, dtype=vae.dtype)
        latents = vae.encode(grey, return_dict=False)[0].mode() * vae.config["scaling_factor"]
        return torch.cat([torch.ones_like(latents[:, :1]), latents], dim=1)
    return None
