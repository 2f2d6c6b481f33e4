"""Upscales the first pass for the hires pass, and encodes it for that pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.components import Components
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.backend.upscale.tiles import OnTile, ignore_tiles
from modules.backend.upscale.upscalers import Upscalers
from modules.models.upscaling.upscalers import LatentFilter
from modules.params.requests.txt2img import HiresSize
from modules.plan.upscaling import PlannedUpscaler


@dataclass(frozen=True)
class Upscaled:
    """The first pass at the size of the hires pass, before the crop.

    Args:
        size: The size to which it was upscaled.
        latents: [batch, channels, rows, columns], scaled; None of an upscaler of pixels.
        images: RGB, of that size; empty of an upscaler of latents.
    """

    size: HiresSize
    latents: Tensor | None = None
    images: tuple[Image.Image, ...] = ()


def upscale(
    components: Components,
    latents: Tensor,
    upscaler: PlannedUpscaler,
    size: HiresSize,
    upscalers: Upscalers,
    on_tile: OnTile = ignore_tiles,
) -> Upscaled:
    """Return the first pass, upscaled.

    Args:
        components: Of the first pass; upscalers that work on pixels use its VAE to decode.
        latents: Of the first pass, [batch, channels, rows, columns], scaled.
        upscaler: Of latents or of pixels.
        size: The size after upscaling, and how much is then cropped.
        upscalers: Enlarge the decoded images.
        on_tile: Called after each tile of an image that a network enlarges.

    Raises:
        NotFinite: the VAE or the upscaler produced invalid numbers.
        BadFile: the upscaler cannot be loaded.
        OutOfMemory: there is too little for the upscaler.
    """
    target, method = size.before_crop, upscaler.upscaler.method
    if isinstance(method, LatentFilter):
        cells = components.latent_format.cells(*target)
        interpolated = torch.nn.functional.interpolate(
            latents.float(), size=cells, mode=method.mode, antialias=method.antialias
        )
        return Upscaled(size, latents=interpolated)
    rows = latents.split(1)  # one at a time, like all decoding: it takes the most memory
    images = (vae.decode(components.vae, row) for row in rows)
    return Upscaled(
        size,
        images=tuple(upscalers.upscale_to(image, upscaler, target, on_tile) for image in images),
    )


def encode_upscaled(components: Components, upscaled: Upscaled, mask_weight: float) -> InitImage:
    """Return the init image of a hires pass, as in A1111.

    Args:
        components: Of the hires pass.
        upscaled: From the first pass.
        mask_weight: How far an inpainting UNet's image, all masked, is blended to grey; 1 is all grey.

    Returns:
        Its latents are float32, cropped to the size of the hires pass.

    Raises:
        NotFinite: the VAE produced invalid numbers.
    """
    size, latents = upscaled.size, upscaled.latents
    if latents is None:
        encoded = [vae.encode(components.vae, image).float() for image in upscaled.images]
        latents = torch.cat(encoded)
    concat_cond = _make_concat_cond(components, upscaled, latents, mask_weight)
    cells = components.latent_format.cells(size.width, size.height)
    return InitImage(
        _crop(latents, cells), None, None if concat_cond is None else _crop(concat_cond, cells)
    )


def _make_concat_cond(
    components: Components, upscaled: Upscaled, latents: Tensor, mask_weight: float
) -> Tensor | None:
    """Return the extra channels, not yet cropped: those of txt2img unless the mask lets the image through."""
    if mask_weight == 1 or not concat.is_inpainting_unet(components):
        if upscaled.images:
            return concat.make_empty_concat_cond(components, *upscaled.images[0].size)
        cell = components.latent_format.pixels_per_cell
        return concat.make_empty_concat_cond(
            components, latents.shape[3] * cell, latents.shape[2] * cell
        )
    if upscaled.images:
        # From 0 to 1, where the VAE expects -1 to 1: A1111 shows the network a brighter image here.
        sources = ((vae.image_to_pixels(image) + 1) / 2 for image in upscaled.images)
    else:
        sources = (vae.decode_pixels(components.vae, row) for row in latents.split(1))
    return torch.cat(
        [concat.mask_and_encode(components, pixels, None, mask_weight) for pixels in sources]
    )


def _crop(latents: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return the center of so many rows and columns; of an odd number to crop, the extra one is cropped at the end."""
    rows, columns = latents.shape[2] - cells[0], latents.shape[3] - cells[1]
    bottom = latents.shape[2] - (rows + 1) // 2
    right = latents.shape[3] - (columns + 1) // 2
    return latents[:, :, rows // 2 : bottom, columns // 2 : right]
