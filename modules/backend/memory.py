"""Estimates the memory of a batch on the CPU, where allocating too much kills the whole program."""

from __future__ import annotations

from math import prod

import psutil
import torch

from modules.backend.components import Components
from modules.core.errors import OutOfMemory
from modules.images.inpaint.canvas import encoded_size
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.prompt.sub_prompts import split_at_and

# Peak bytes per value of the widest feature map, measured on full-size SD 1.x networks in float32.
_UNET_BYTES = 40 * 4
_VAE_BYTES = 8 * 4


def needed_bytes(components: Components, request: GenerationRequest) -> int:
    """Return the approximate memory of one batch, weights excluded: the larger of UNet and VAE."""
    image_width, image_height = _image_size(request)
    rows, columns = components.latent_format.cells(request.width, request.height)
    unet_width: int = components.unet.config["block_out_channels"][0]
    vae_width: int = components.vae.config["block_out_channels"][0]
    prompts = 1 + len(split_at_and(request.prompt))  # the negative prompt is in the same batch
    unet = _UNET_BYTES * unet_width * rows * columns * prompts * request.batch_size
    vae = _VAE_BYTES * vae_width * image_width * image_height  # one image at a time
    return max(unet, vae)


def _image_size(request: GenerationRequest) -> tuple[int, int]:
    """Return the size of the largest image that the VAE encodes or decodes: an init image can keep its own."""
    sizes = [(request.width, request.height)]
    if isinstance(request, Img2ImgRequest):
        sizes.append(encoded_size(request))
    return max(sizes, key=prod)


def check(components: Components, request: GenerationRequest, device: torch.device) -> None:
    """Refuse a batch that does not fit the CPU's memory; other devices raise by themselves.

    Raises:
        OutOfMemory: with the needed and the free memory.
    """
    if device.type != "cpu":
        return
    needed, free = needed_bytes(components, request), psutil.virtual_memory().available
    if needed > free:
        size = request.width, request.height
        width, height = _image_size(request)
        picture = "" if (width, height) == size else f" from a picture of {width}x{height}"
        raise OutOfMemory(
            f"A batch of {request.batch_size} at {size[0]}x{size[1]}{picture} needs about "
            f"{needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free.",
            f"Use a smaller {'picture, ' if picture else ''}size or batch size.",
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out; the CPU and MPS raise no class of their own for it."""
    messages = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(
        message in str(error) for message in messages
    )
