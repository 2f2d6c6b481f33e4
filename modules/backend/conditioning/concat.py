"""What some UNets see beside the latents: the picture under its mask, or that there is no picture."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from modules.backend import vae as autoencoder
from modules.backend.components import Components


def make_empty_concat_cond(components: Components, width: int, height: int) -> Tensor | None:
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


def make_inpaint_concat_cond(
    components: Components, image: Image.Image, pixel_mask: Tensor | None, mask_weight: float
) -> Tensor | None:
    """Return the channels that tell an inpainting UNet what is repainted; None for one that sees the latents alone.

    As A1111 (inpainting_image_conditioning): the mask, and the latents of the picture, grey where it is masked.

    Args:
        components: The checkpoint's parts.
        image: RGB; the sides are multiples of 8.
        pixel_mask: The mask, float32 [1, 1, height, width], 1 where it is repainted; None repaints all.
        mask_weight: How grey the masked part is; 0 shows the picture, 1 nothing of it.

    Returns:
        [1, 1 + channels, height / 8, width / 8], the mask first, on the VAE's device.
    """
    vae, unet = components.vae, components.unet
    if int(unet.config["in_channels"]) != 2 * int(vae.config["latent_channels"]) + 1:
        return None
    pixels = autoencoder.image_to_pixels(image)
    pixel_mask = torch.ones_like(pixels[:, :1]) if pixel_mask is None else pixel_mask
    latents = autoencoder.encode_pixels(vae, pixels * (1 - pixel_mask * mask_weight))
    mask = functional.interpolate(pixel_mask.to(latents), size=latents.shape[2:])  # nearest
    return torch.cat([mask, latents], dim=1)
