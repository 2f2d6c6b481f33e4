"""Stage 5 of a job: latents to finished images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.acceleration import Acceleration
from modules.backend.batch import Batch
from modules.backend.conditioning.init_image import InitImage
from modules.backend.control.unit_effects import Finish, UnitEffects
from modules.backend.denoise.progress import raise_if_interrupted
from modules.backend.memory.offload import execution_device
from modules.backend.model import LoadedModel
from modules.backend.pipelines.pass_options import use_image_options
from modules.backend.stages.pending_images import PendingImages
from modules.backend.vae import PendingImage
from modules.params.events import Note, Output, Phase
from modules.params.requests.init_image import InitImageRequest
from modules.plan.plan import Plan

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class PassResult:
    """What a pass has made.

    Args:
        latents: [batch, channels, rows, columns].
        init_image: That they are composited into, if there is one.
        plan: Whose model made the last step: that of the pass, or that of its refiner.
        is_refined: Whether the job's refiner has had a turn.
        units: What the control units of the pass do.
    """

    latents: Tensor
    init_image: InitImage | None
    plan: Plan
    is_refined: bool
    units: UnitEffects


@dataclass(frozen=True)
class SampledBatch:
    """A batch that is to be decoded.

    Args:
        batch: The batch.
        plan: Of the job.
        result: Of its last pass.
    """

    batch: Batch
    plan: Plan
    result: PassResult


def decode_unfinished(
    batch: Batch,
    model: LoadedModel,
    plan: Plan,
    init_image: InitImage | None,
    *,
    is_unrefined: bool,
    finish: Finish,
) -> None:
    """Pass on the job's first image as far as it has come, if somebody wants it."""
    latents = batch.progress.unfinished
    if latents is not None:
        batch.sink(Phase("Decoding"))
        image = decode_image(model, latents, 0, plan, init_image, finish)
        used = batch.acceleration
        precision = stated_precision(model, plan, used)
        batch.sink(Output("unfinished image", image, 0, is_unrefined, precision, used.name))


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
    model: LoadedModel,
    latents: Tensor,
    row: int,
    plan: Plan,
    init_image: InitImage | None,
    finish: Finish,
) -> Image.Image:
    """Return one image of a batch's latents; see `start_decoding_image`."""
    return start_decoding_image(model, latents, row, plan, init_image, finish).result()


def start_decoding_image(
    model: LoadedModel,
    latents: Tensor,
    row: int,
    plan: Plan,
    init_image: InitImage | None,
    finish: Finish,
) -> PendingImage:
    """Begin to decode one image of a batch's latents, composited into the init image if there is one.

    Args:
        model: The loaded checkpoint.
        latents: [batch, channels, rows, columns].
        row: Of the image in the batch.
        plan: Of the pass.
        init_image: Of the batch.
        finish: What control units do to the image before it is composited.
    """
    own = latents[row : row + 1]
    decoding = vae.start_decoding(model.components.vae, own)

    def result() -> Image.Image:
        image = finish(decoding.result())
        if init_image is None:
            return image
        assert isinstance(plan.request, InitImageRequest)
        return init_image.of_image(row).composite(plan.request, plan.settings, own, image)

    return PendingImage(decoding.is_ready, result)


def decode_images(sampled: SampledBatch, pending: PendingImages) -> None:
    """Pass on the images of a batch, each as soon as it is decoded.

    Args:
        sampled: The batch.
        pending: May decode them while the next batch is sampled.

    Raises:
        Cancelled: the job was interrupted; images already passed on stay.
        NotFinite: the VAE produced invalid numbers.
    """
    batch, plan, result = sampled.batch, sampled.plan, sampled.result
    model = batch.acquire(result.plan.model)
    unrefined = is_unrefined(plan, result.is_refined)
    if unrefined:
        batch.sink(Note(_unrefined_note(plan)))
    precision = stated_precision(model, result.plan, batch.acceleration)
    overlaps = pending.overlaps(plan, model)

    def start(row: int) -> PendingImage:
        finish = result.units.finish
        return start_decoding_image(model, result.latents, row, plan, result.init_image, finish)

    def deliver(index: int, image: Image.Image) -> None:
        accelerator = batch.acceleration.name
        batch.sink(Output("image", image, index, unrefined, precision, accelerator))

    with use_image_options(model.components, result.plan, batch.draws):
        # 5. Decode, one image at a time
        for row, image in enumerate(plan.batches[batch.index]):
            # The first image needs no further step.
            if image.index or not batch.cancel.wants_unfinished():
                raise_if_interrupted(batch.cancel)
            batch.sink(Phase("Decoding"))
            pending.add(partial(start, row), partial(deliver, image.index), overlaps=overlaps)


def is_unrefined(plan: Plan, is_refined: bool) -> bool:
    """Return whether the request names a refiner that has had no turn."""
    return bool(plan.request.refiner_checkpoint) and not is_refined


def _unrefined_note(plan: Plan) -> str:
    name, switch_at = plan.request.refiner_checkpoint, plan.request.refiner_switch_at
    return f"{name} refined nothing: the last step came before its turn at {switch_at:g}."
