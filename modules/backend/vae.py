"""Encodes images to latents and decodes latents to images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import FloatTensor, Tensor

from modules.backend.memory.offload import execution_device
from modules.backend.memory.transfers import start_copy_to_host
from modules.backend.memory.vae_tiles import run_in_tiles_if_needed
from modules.core.errors import NotFinite


def encode(vae: AutoencoderKL, image: Image.Image) -> Tensor:
    """Return the latents of one image; see `encode_pixels`.

    Args:
        vae: The checkpoint's VAE.
        image: RGB, at least one cell wide and high; a rest that is no whole cell counts for nothing.

    Raises:
        NotFinite: the VAE produced NaN or infinity.
    """
    return encode_pixels(vae, image_to_pixels(image))


def image_to_pixels(image: Image.Image) -> Tensor:
    """Return an image as the VAE's input: RGB, float32 [1, 3, height, width], contiguous, -1 to 1."""
    channels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return channels.contiguous()[None] / 127.5 - 1


def encode_pixels(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Return the latents of one image: the posterior's mode, which is deterministic.

    A1111 samples the posterior with PyTorch's own generator, as the noise of the job before has seeded it; the deviation is
    far below what is visible.

    Args:
        vae: The checkpoint's VAE.
        pixels: [1, 3, height, width], -1 to 1; both sides are at least the pixels per cell.

    Returns:
        [1, channels, rows, columns] in the VAE's dtype, shifted and scaled; see LatentFormat. Rows and columns are the
        sides divided by the pixels per cell, rounded down.

    Raises:
        NotFinite: the VAE produced NaN or infinity.
    """
    pixels = pixels.to(execution_device(vae), vae.dtype)
    size = pixels.shape[3], pixels.shape[2]
    encoded = run_in_tiles_if_needed(
        vae, size, lambda: vae.encode(pixels, return_dict=False)[0].mode()
    )
    latents = normalize(vae, encoded)
    if not bool(torch.isfinite(latents).all()):
        raise NotFinite(
            "The VAE produced invalid numbers, so the picture cannot be repainted.",
            "Try another checkpoint.",
        )
    return latents


def normalize(vae: AutoencoderKL, encoded: Tensor) -> Tensor:
    """Return what the VAE encodes as latents: shifted and scaled."""
    shift = vae.config["shift_factor"]
    return (encoded - shift if shift else encoded) * vae.config["scaling_factor"]


def denormalize(vae: AutoencoderKL, latents: Tensor) -> FloatTensor:
    """Return latents as the VAE decodes them: unscaled and shifted back."""
    unscaled, shift = latents / vae.config["scaling_factor"], vae.config["shift_factor"]
    return unscaled + shift if shift else unscaled


@dataclass(frozen=True)
class PendingImage:
    """An image that a device decodes.

    Args:
        is_ready: Whether it has been decoded; never waits.
        result: Returns it, RGB, once it has been decoded; raises NotFinite if the VAE produced NaN or infinity.
    """

    is_ready: Callable[[], bool]
    result: Callable[[], Image.Image]


def start_decoding(vae: AutoencoderKL, latents: Tensor) -> PendingImage:
    """Begin to decode an image; see `decode_pixels`. Nothing waits for the device before the result is asked for."""
    decoded = _decode(vae, latents)
    is_finite = start_copy_to_host(torch.isfinite(decoded).all())
    # A1111 truncates to 8 bits, it does not round.
    rgb = (((decoded[0] + 1) / 2).clamp(0, 1) * 255).to(torch.uint8)
    pixels = start_copy_to_host(rgb.permute(1, 2, 0).contiguous())

    def result() -> Image.Image:
        if not bool(is_finite.result()):
            raise _not_finite()
        return Image.fromarray(pixels.result().numpy())

    return PendingImage(pixels.is_ready, result)


def decode(vae: AutoencoderKL, latents: Tensor) -> Image.Image:
    """Return one decoded image, RGB; see `decode_pixels`.

    Raises:
        NotFinite: the VAE produced NaN or infinity.
    """
    return start_decoding(vae, latents).result()


def decode_pixels(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Return one decoded image as the VAE gives it.

    Args:
        vae: The checkpoint's VAE.
        latents: [1, channels, rows, columns], shifted and scaled.

    Returns:
        RGB, float32 [1, 3, height, width] on the VAE's device; -1 to 1, or a little beyond.

    Raises:
        NotFinite: the VAE produced NaN or infinity.
    """
    decoded = _decode(vae, latents)
    if not bool(torch.isfinite(decoded).all()):
        raise _not_finite()
    return decoded


def _decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    encoded = denormalize(vae, latents.to(execution_device(vae), vae.dtype))
    cell = 2 ** (len(vae.config["block_out_channels"]) - 1)
    size = latents.shape[3] * cell, latents.shape[2] * cell
    return run_in_tiles_if_needed(
        vae, size, lambda: vae.decode(encoded, return_dict=False)[0]
    ).float()


def _not_finite() -> NotFinite:
    return NotFinite(
        "The VAE produced invalid numbers, so there is no picture to show.",
        "Try another checkpoint.",
    )
