"""Upscales the latents of the first pass for the hires pass."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modules.backend import vae
from modules.backend.components import Components
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.models.upscalers import LatentFilter, Upscaler
from modules.params.requests.txt2img import VAE_SCALE_FACTOR, HiresSize


def upscale_latents(
    autoencoder: AutoencoderKL, latents: Tensor, upscaler: Upscaler, size: HiresSize
) -> Tensor:
    """Return the init latents of the hires pass.

    Args:
        autoencoder: The first pass's VAE, for upscalers that work on pixels.
        latents: Of the first pass, [batch, channels, height / 8, width / 8], scaled.
        upscaler: The resampling, of latents or of pixels.
        size: The size after upscaling, and how much is then cropped.

    Returns:
        float32 of the same layout at the new size.

    Raises:
        NotFinite: the VAE produced invalid numbers.
    """
    resampling = upscaler.resampling
    if isinstance(resampling, LatentFilter):
        cells = size.upscaled_height // VAE_SCALE_FACTOR, size.upscaled_width // VAE_SCALE_FACTOR
        upscaled = torch.nn.functional.interpolate(
            latents.float(), size=cells, mode=resampling.mode, antialias=resampling.antialias
        )
        return _crop(upscaled, size)
    encoded = []
    for row in range(
        latents.shape[0]
    ):  # one at a time, like all decoding: it takes the most memory
        image = vae.decode(autoencoder, latents[row : row + 1])
        target = size.upscaled_width, size.upscaled_height
        encoded.append(vae.encode(autoencoder, image.resize(target, resampling)).float())
    return _crop(torch.cat(encoded), size)


def init_image_from_latents(components: Components, latents: Tensor) -> InitImage:
    """Return the init image of a hires pass; an inpainting UNet gets the concat cond of txt2img, a mask of ones."""
    height, width = latents.shape[2] * VAE_SCALE_FACTOR, latents.shape[3] * VAE_SCALE_FACTOR
    return InitImage(latents, None, concat.make_empty_concat_cond(components, width, height))


def _crop(latents: Tensor, size: HiresSize) -> Tensor:
    """Return the center; of an odd number of rows or columns, the extra one is cropped at the end."""
    rows, columns = size.crop_rows, size.crop_columns
    bottom = latents.shape[2] - (rows + 1) // 2
    right = latents.shape[3] - (columns + 1) // 2
    return latents[:, :, rows // 2 : bottom, columns // 2 : right]
