"""Between the two passes of hires fix: the first one's latents become those of a larger picture."""

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
    """Return the latents that the second pass begins with.

    Args:
        autoencoder: The first pass's VAE, for upscalers of pixels.
        latents: Of the first pass, [pictures, channels, height / 8, width / 8], scaled.
        upscaler: How they are enlarged.
        size: To what, and how much is then cut off.

    Returns:
        float32 of the same form at the new size.

    Raises:
        NotFinite: the VAE produced invalid numbers.
    """
    how = upscaler.resampling
    if isinstance(how, LatentFilter):
        cells = size.upscaled_height // VAE_SCALE_FACTOR, size.upscaled_width // VAE_SCALE_FACTOR
        larger = torch.nn.functional.interpolate(
            latents.float(), size=cells, mode=how.mode, antialias=how.antialias
        )
        return _cut(larger, size)
    enlarged = []
    for row in range(latents.shape[0]):  # one by one, as all decoding: it takes the most memory
        picture = vae.decode(autoencoder, latents[row : row + 1])
        target = size.upscaled_width, size.upscaled_height
        enlarged.append(vae.encode(autoencoder, picture.resize(target, how)).float())
    return _cut(torch.cat(enlarged), size)


def init_image_from_latents(components: Components, latents: Tensor) -> InitImage:
    """Return what the network sees of the enlarged pictures; a UNet with a mask sees one that hides nothing."""
    height, width = latents.shape[2] * VAE_SCALE_FACTOR, latents.shape[3] * VAE_SCALE_FACTOR
    return InitImage(latents, None, concat.make_empty_concat_cond(components, width, height))


def _cut(latents: Tensor, size: HiresSize) -> Tensor:
    """Return the middle; of an odd number of rows or columns the one more is cut off at the end."""
    rows, columns = size.crop_rows, size.crop_columns
    bottom = latents.shape[2] - (rows + 1) // 2
    right = latents.shape[3] - (columns + 1) // 2
    return latents[:, :, rows // 2 : bottom, columns // 2 : right]
