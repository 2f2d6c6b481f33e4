"""Upscales the latents of the first pass for the hires pass."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.backend import vae
from modules.backend.components import Components
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.models.upscalers import LatentFilter, Upscaler
from modules.params.requests.txt2img import HiresSize


def upscale_latents(
    components: Components, latents: Tensor, upscaler: Upscaler, size: HiresSize
) -> Tensor:
    """Return the init latents of the hires pass.

    Args:
        components: Of the first pass; upscalers that work on pixels use its VAE.
        latents: Of the first pass, [batch, channels, rows, columns], scaled.
        upscaler: The resampling, of latents or of pixels.
        size: The size after upscaling, and how much is then cropped.

    Returns:
        float32 of the same layout at the new size.

    Raises:
        NotFinite: the VAE produced invalid numbers.
    """
    resampling, latent_format = upscaler.resampling, components.latent_format
    cropped = latent_format.cells(size.width, size.height)
    if isinstance(resampling, LatentFilter):
        cells = latent_format.cells(size.upscaled_width, size.upscaled_height)
        upscaled = torch.nn.functional.interpolate(
            latents.float(), size=cells, mode=resampling.mode, antialias=resampling.antialias
        )
        return _crop(upscaled, cropped)
    encoded = []
    for row in range(
        latents.shape[0]
    ):  # one at a time, like all decoding: it takes the most memory
        image = vae.decode(components.vae, latents[row : row + 1])
        target = size.upscaled_width, size.upscaled_height
        encoded.append(vae.encode(components.vae, image.resize(target, resampling)).float())
    return _crop(torch.cat(encoded), cropped)


def init_image_from_latents(components: Components, latents: Tensor) -> InitImage:
    """Return the init image of a hires pass; an inpainting UNet gets the concat cond of txt2img, a mask of ones."""
    pixels_per_cell = components.latent_format.pixels_per_cell
    height, width = latents.shape[2] * pixels_per_cell, latents.shape[3] * pixels_per_cell
    return InitImage(latents, None, concat.make_empty_concat_cond(components, width, height))


def _crop(latents: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return the center of so many rows and columns; of an odd number to crop, the extra one is cropped at the end."""
    rows, columns = latents.shape[2] - cells[0], latents.shape[3] - cells[1]
    bottom = latents.shape[2] - (rows + 1) // 2
    right = latents.shape[3] - (columns + 1) // 2
    return latents[:, :, rows // 2 : bottom, columns // 2 : right]
