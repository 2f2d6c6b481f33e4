"""Estimates the memory of a batch on the CPU, where allocating too much kills the whole program."""

from __future__ import annotations

import psutil
import torch

from modules.backend.components import Components
from modules.core.errors import OutOfMemory
from modules.params.requests.base import GenerationRequest
from modules.prompt.sub_prompts import split_at_and

# Peak bytes per value of the widest feature map, measured on full-size SD 1.x networks in float32.
_UNET_BYTES = 40 * 4
_VAE_BYTES = 8 * 4


def needed_bytes(components: Components, request: GenerationRequest) -> int:
    """Return the approximate memory of one batch, weights excluded: the larger of UNet and VAE."""
    pixels = request.width * request.height
    rows, columns = components.latent_format.cells(request.width, request.height)
    unet_width: int = components.unet.config["block_out_channels"][0]
    vae_width: int = components.vae.config["block_out_channels"][0]
    prompts = 1 + len(split_at_and(request.prompt))  # the negative prompt is in the same batch
    unet = _UNET_BYTES * unet_width * rows * columns * prompts * request.batch_size
    vae = _VAE_BYTES * vae_width * pixels  # one image at a time
    return max(unet, vae)


def check(components: Components, request: GenerationRequest, device: torch.device) -> None:
    """Refuse a batch that does not fit the CPU's memory; other devices raise by themselves.

    Raises:
        OutOfMemory: with the needed and the free memory.
    """
    if device.type != "cpu":
        return
    needed, free = needed_bytes(components, request), psutil.virtual_memory().available
    if needed > free:
        raise OutOfMemory(
            f"A batch of {request.batch_size} at {request.width}x{request.height} needs about "
            f"{needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free.",
            "Use a smaller size or batch size.",
        )
