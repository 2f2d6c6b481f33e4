"""Stage 5 of a job: latents to finished images."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.conditioning.init_image import InitImage
from modules.backend.denoise.progress import ProgressReporter
from modules.backend.memory.offload import execution_device
from modules.backend.model import LoadedModel
from modules.backend.openvino.acceleration import Acceleration
from modules.params.events import Output, Phase, Sink
from modules.params.requests.init_image import InitImageRequest
from modules.plan.plan import Plan

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def decode_unfinished(
    model: LoadedModel,
    progress: ProgressReporter,
    plan: Plan,
    init_image: InitImage | None,
    sink: Sink,
    acceleration: Acceleration,
    *,
    is_unrefined: bool,
) -> None:
    """Pass on the job's first image as far as it has come, if somebody wants it."""
    latents = progress.unfinished
    if latents is not None:
        sink(Phase("Decoding"))
        image = decode_image(model, latents, 0, plan, init_image)
        precision = stated_precision(model, plan, acceleration)
        sink(Output("unfinished image", image, 0, is_unrefined, precision, acceleration.name))


def stated_precision(model: LoadedModel, plan: Plan, acceleration: Acceleration) -> str:
    """Return the dtype that the UNet computed in as an infotext states it, "" where it is what everybody expects.

    On a GPU 16 bits are expected, as A1111 uses them; on a processor 32.
    """
    unet = model.components.unet
    if acceleration.precision:
        is_exact = acceleration.precision == _PRECISIONS[torch.float32]
        is_silent = is_exact and plan.model.precision == "Automatic"
        return "" if is_silent else acceleration.precision
    is_expected = execution_device(unet).type != "cpu" or unet.dtype == torch.float32
    if plan.model.precision == "Automatic" and is_expected:
        return ""
    return _PRECISIONS.get(unet.dtype, "")


def decode_image(
    model: LoadedModel, latents: Tensor, row: int, plan: Plan, init_image: InitImage | None
) -> Image.Image:
    """Return one image of a batch's latents, composited into the init image if there is one.

    Args:
        model: The loaded checkpoint.
        latents: [batch, channels, rows, columns].
        row: Of the image in the batch.
        plan: Of the pass.
        init_image: Of the batch.
    """
    latents = latents[row : row + 1]
    result = vae.decode(model.components.vae, latents)
    if init_image is None:
        return result
    assert isinstance(plan.request, InitImageRequest)
    return init_image.of_image(row).composite(plan.request, plan.settings, latents, result)
