"""Measures the memory of devices and estimates that of a batch: on the CPU too much kills the whole program."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import psutil
import torch
from diffusers import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from modules.backend.components import Components
from modules.backend.memory.offload import execution_device
from modules.core.errors import OutOfMemory
from modules.images.inpaint.canvas import encoded_size
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.prompt.sub_prompts import split_at_and

# Peak bytes per value of the widest feature map, measured on full-size SD 1.x networks in float32.
UNET_BYTES = 40 * 4
_VAE_BYTES = 8 * 4
# A VAE for which there is no room runs in tiles (see vae_tiles), of so many pixels, and then keeps the image itself:
# three values a pixel as the input, as the output and as the two tiles' worth of rows that are joined.
_LARGEST_TILE = 512 * 512
_IMAGE_BYTES = 4 * 3 * 4


DEVICES_WITH_MEMORY = ("cuda", "xpu")


class UnitMemory(NamedTuple):
    """What the ControlNet units of a pass take.

    Args:
        unit_count: How many there are.
        weight_bytes: Of their control models that are not loaded yet.
    """

    unit_count: int = 0
    weight_bytes: int = 0


NO_UNITS = UnitMemory()


def free_bytes(device: torch.device) -> int:
    """Return the memory that can be allocated on a device; for one without its own, that of the computer."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "xpu":
        return torch.xpu.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def computer_bytes() -> int:
    """Return the computer's memory that can be allocated; what is swapped out is slow, but ends no program."""
    return psutil.virtual_memory().available + psutil.swap_memory().free


def empty_cache(device: torch.device) -> None:
    """Give back what torch keeps of freed memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out; the CPU and MPS raise no class of their own for it."""
    messages = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(
        message in str(error) for message in messages
    )


def vae_bytes(vae: AutoencoderKL, size: tuple[int, int]) -> int:
    """Return the approximate memory of encoding or decoding one image of a size in pixels, weights excluded."""
    return _VAE_BYTES * int(vae.config["block_out_channels"][0]) * prod(size)


def needed_bytes(components: Components, request: GenerationRequest) -> int:
    """Return the approximate memory of one batch, weights excluded: the larger of UNet and VAE."""
    image = _image_size(request)
    rows, columns = components.latent_format.cells(request.width, request.height)
    unet_width: int = components.unet.config["block_out_channels"][0]
    prompts = 1 + len(split_at_and(request.prompt))  # the negative prompt is in the same batch
    unet = UNET_BYTES * unet_width * rows * columns * prompts * request.batch_size
    in_tiles = vae_bytes(components.vae, (_LARGEST_TILE, 1)) + _IMAGE_BYTES * prod(image)
    vae = min(vae_bytes(components.vae, image), in_tiles)  # one image at a time
    return max(unet, vae)


def conds_per_call(
    unet: UNet2DConditionModel,
    cells: tuple[int, int],
    batch_size: int,
    free: int | None = None,
) -> int | None:
    """Return how many conditionings of a batch a device with memory of its own has room for in one call of the UNet.

    None for the CPU and others that share the computer's memory: there `check` refuses a batch that does not fit. Calls
    with fewer rows add up in another order, so that their images differ in the last digits; but without them there would
    be none.

    Args:
        unet: The UNet.
        cells: Rows and columns of the latents.
        batch_size: Images of the batch.
        free: Bytes of the device; None measures them.
    """
    device = execution_device(unet)
    if free is None:
        if device.type not in DEVICES_WITH_MEMORY:
            return None
        free = free_bytes(device)
    away = unet.device != device  # it comes with its first call
    weights = sum(one.nbytes for one in unet.parameters()) if away else 0
    bytes_per_value = UNET_BYTES * unet.dtype.itemsize // torch.float32.itemsize
    each = bytes_per_value * int(unet.config["block_out_channels"][0]) * prod(cells) * batch_size
    return max(1, (free - weights) // each)


def _image_size(request: GenerationRequest) -> tuple[int, int]:
    """Return the size of the largest image that the VAE encodes or decodes: an init image can keep its own."""
    sizes = [(request.width, request.height)]
    if isinstance(request, Img2ImgRequest):
        sizes.append(encoded_size(request))
    return max(sizes, key=prod)


def check(
    components: Components,
    request: GenerationRequest,
    device: torch.device,
    units: UnitMemory = NO_UNITS,
) -> None:
    """Refuse a batch that does not fit the CPU's memory; other devices raise by themselves.

    Args:
        components: The networks.
        request: Of the pass.
        device: Where they compute.
        units: What its ControlNet units take.

    Raises:
        OutOfMemory: with the needed and the free memory.
    """
    if device.type != "cpu":
        return
    needed = needed_bytes(components, request) + units.weight_bytes
    free = psutil.virtual_memory().available
    if needed > free:
        size = request.width, request.height
        width, height = _image_size(request)
        picture = "" if (width, height) == size else f" from a picture of {width}x{height}"
        raise OutOfMemory(
            f"A batch of {request.batch_size} at {size[0]}x{size[1]}{picture}{units_phrase(units.unit_count)} needs about "
            f"{needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free.",
            f"Use {'fewer units, ' if units.unit_count else ''}a smaller {'picture, ' if picture else ''}size or batch size.",
        )


def units_phrase(count: int) -> str:
    """Return how a message names the ControlNet units of a batch, "" for none."""
    if not count:
        return ""
    return f" with {count} ControlNet unit{'' if count == 1 else 's'}"
