"""Concat conditioning: extra UNet input channels with the masked image, or for no image."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from modules.backend import vae as autoencoder
from modules.backend.components import Components
from modules.backend.memory.offload import execution_device


def make_empty_concat_cond(components: Components, width: int, height: int) -> Tensor | None:
    """Return the extra channels for txt2img; None for a UNet that takes the latents alone.

    For an inpainting UNet, as in A1111, a mask of ones and the latents of a grey image. For InstructPix2Pix zeros: its
    training dropped the image this way (Brooks et al. 2023, section 3.2.1).

    Args:
        components: Of the checkpoint.
        width: Of the image, in pixels.
        height: Likewise.

    Returns:
        [1, extra channels, rows, columns], a mask first, on the UNet's device.
    """
    vae, unet = components.vae, components.unet
    channels, rows, columns = components.latent_format.shape(width, height)
    extra = int(unet.config["in_channels"]) - channels
    if extra == channels:
        shape = (1, channels, rows, columns)
        return torch.zeros(shape, device=execution_device(unet), dtype=unet.dtype)
    if extra == channels + 1:
        grey = torch.zeros((1, 3, height, width), device=execution_device(vae), dtype=vae.dtype)
        encoded = vae.encode(grey, return_dict=False)[0].mode()
        latents = autoencoder.normalize(vae, encoded)
        return torch.cat([torch.ones_like(latents[:, :1]), latents], dim=1)
    return None


def takes_more_channels(components: Components) -> bool:
    """Return whether the UNet takes more than the latents."""
    return int(components.unet.config["in_channels"]) > components.latent_format.channels


def is_inpainting_unet(components: Components) -> bool:
    """Return whether the UNet takes a mask and masked latents in addition to the latents."""
    return int(components.unet.config["in_channels"]) == 2 * components.latent_format.channels + 1


def make_inpaint_concat_cond(
    components: Components, image: Image.Image, pixel_mask: Tensor | None, mask_weight: float
) -> Tensor | None:
    """Return the extra channels of an inpainting UNet; None for a UNet that takes the latents alone.

    As A1111 (inpainting_image_conditioning): the mask, and the latents of the image, grey where it is masked.

    Args:
        components: Of the checkpoint.
        image: RGB; width and height are multiples of the latent format's pixels per cell.
        pixel_mask: float32 [1, 1, height, width], 1 where the image is repainted; None repaints all of it.
        mask_weight: How far the masked part is blended to grey; 0 leaves the image, 1 is all grey.

    Returns:
        [1, 1 + channels, rows, columns], the mask first, on the VAE's device.
    """
    if not is_inpainting_unet(components):
        return None
    return mask_and_encode(components, autoencoder.image_to_pixels(image), pixel_mask, mask_weight)


def mask_and_encode(
    components: Components, pixels: Tensor, pixel_mask: Tensor | None, mask_weight: float
) -> Tensor:
    """Return the extra channels of an inpainting UNet for pixels, [1, 3, height, width]; see above."""
    pixel_mask = torch.ones_like(pixels[:, :1]) if pixel_mask is None else pixel_mask
    latents = autoencoder.encode_pixels(components.vae, pixels * (1 - pixel_mask * mask_weight))
    mask = functional.interpolate(pixel_mask.to(latents), size=latents.shape[2:])  # nearest
    return torch.cat([mask, latents], dim=1)
