"""Plan to images, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from modules.backend import hires, memory, vae
from modules.backend.components import Components
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.backend.denoise.progress import (
    BatchSkipped,
    ProgressReporter,
    raise_if_interrupted,
)
from modules.backend.denoise.recorder import Recorder
from modules.backend.denoise.step_extensions import ConcatChannels, MaskedLatents, StepExtension
from modules.backend.model import LoadedModel
from modules.backend.networks.embeddings import read_all_vectors
from modules.backend.networks.lora_fold import OriginalsLost
from modules.backend.noise.noise import ImageNoise, NoiseOptions, noise_options
from modules.backend.seamless import circular_padding
from modules.core.errors import Cancelled, NotFinite
from modules.models.checkpoint import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.events import CancelToken, Note, Output, Phase, Sink
from modules.params.requests.init_image import InitImageRequest
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)
Acquire = Callable[[ModelSpec], LoadedModel]  # returns the loaded model, loading it if necessary


class UNetOverflow(NotFinite):
    """The UNet's output overflowed its precision; a higher precision may avoid it.

    Args:
        checkpoint: The UNet's checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(
            "The UNet produced invalid numbers, so there is no picture to show.",
            "Try another checkpoint or start with --no-half.",
        )
        self.checkpoint = checkpoint


def generate_batch(
    acquire: Acquire,
    device: torch.device,
    plan: Plan,
    batch_index: int,
    sink: Sink,
    cancel: CancelToken,
) -> None:
    """Generate one batch and pass each image on as soon as it is decoded.

    Raises:
        Cancelled: the job was interrupted; images already passed on stay.
        BatchSkipped: the batch was skipped; likewise.
        UNetOverflow: a UNet produced invalid numbers; no image of the batch was passed on.
        NotFinite: the VAE did, in 32-bit floats.
        OutOfMemory: the batch does not fit.
        UserError: an init image has no depth map, and the checkpoint cannot estimate one.
    """
    model, hires_pass = _acquire_with_networks(acquire, plan, batch_index, sink), plan.hires
    memory.check(model.components, plan.request, device)
    progress = ProgressReporter(sink, cancel, plan, batch_index)
    if hires_pass is None:
        with _tiling(model, plan):
            latents, init_image = _run_pass(model, plan, batch_index, sink, progress)
            return _decode_images(model, latents, plan, batch_index, init_image, sink, cancel)
    memory.check(model.components, hires_pass.plan.request, device)
    with _tiling(model, plan):
        latents, _ = _run_pass(model, plan, batch_index, sink, progress)
        sink(Phase("Upscaling"))
        upscaled = hires.upscale(model.components, latents, hires_pass.upscaler, hires_pass.size)
        del latents
    if hires_pass.plan.model != plan.model:
        del model  # two may not fit
        sink(Phase(f"Loading {hires_pass.plan.checkpoint.name}"))
    model = _acquire_with_networks(acquire, hires_pass.plan, batch_index, sink)
    with _tiling(model, plan):
        hires_plan = replace(hires_pass.plan, record=plan.record)
        latents, _ = _run_pass(model, hires_plan, batch_index, sink, progress, upscaled)
        return _decode_images(model, latents, plan, batch_index, None, sink, cancel)


def _acquire_with_networks(
    acquire: Acquire, plan: Plan, batch_index: int, sink: Sink
) -> LoadedModel:
    """Return the loaded model of a pass with the networks of its prompt; the first batch reports on them."""
    model = acquire(plan.model)
    try:
        notes = model.use_networks(plan.networks)
    except OriginalsLost as error:
        logger.info("%s The checkpoint is loaded again.", error)
        del model  # two may not fit
        model = acquire(plan.model)
        notes = model.use_networks(plan.networks)
    for note in notes if batch_index == 0 else ():
        sink(Note(note))
    return model


def _tiling(model: LoadedModel, plan: Plan) -> AbstractContextManager[None]:
    components = model.components
    return circular_padding(components.unet, components.vae, enabled=plan.settings.tiling)


def _run_pass(
    model: LoadedModel,
    plan: Plan,
    batch_index: int,
    sink: Sink,
    progress: ProgressReporter,
    upscaled: hires.Upscaled | None = None,
) -> tuple[Tensor, InitImage | None]:
    """Return the final latents of a pass, and its encoded init image, with masked content, if it has one.

    Args:
        model: The loaded checkpoint.
        plan: Of this pass.
        batch_index: Index of the batch, from 0.
        sink: Receives phases and recordings.
        progress: Called after every evaluation.
        upscaled: The first pass upscaled, in the hires pass.
    """
    request, components, batch = plan.request, model.components, plan.batches[batch_index]
    progress.begin_pass(model.preview)
    # 1. Encode the prompt
    sink(Phase("Encoding the prompt"))
    size = (request.width, request.height) if upscaled is None else upscaled.size.before_crop
    conditioning = model.encode_prompts(
        request.prompt,
        request.negative_prompt,
        plan.timeline,
        plan.settings,
        size,
        plan.networks.words,
        read_all_vectors(plan.networks.embeddings),
    )
    # 2. Encode the init image, if there is one
    if upscaled is None:
        init_image = _encode_init_image(model, plan, sink)
    else:
        init_image = _encode_upscaled(model, plan, sink, upscaled)
    # 3. Prepare noise, from each image's own seed
    latent_format, device = components.latent_format, components.unet.device
    shape = latent_format.shape(request.width, request.height)
    options = noise_options(plan, latent_format)
    noise = ImageNoise(batch, shape, device, options)
    if init_image is not None:  # A1111 draws masked content from the seeds alone
        content = ImageNoise(batch, shape, device, NoiseOptions(options.source))
        init_image = init_image.with_masked_content(content)
    # 4. Denoising loop, with the networks of the prompt
    sink(Phase("Sampling" if upscaled is None else "Sampling the larger image"))
    recorder = Recorder() if plan.record and batch_index == 0 else None
    try:
        with model.hypernetworks.apply(components.unet, plan.networks.hypernetworks):
            latents = model.pipeline(
                plan,
                model.model_sigmas,
                conditioning,
                noise,
                None if init_image is None else init_image.latents,
                [
                    *_init_extensions(components, plan, init_image),
                    progress,
                    *([recorder] if recorder else []),
                ],
            )
    except (Cancelled, BatchSkipped):
        with suppress(NotFinite):  # what was asked for is to stop
            _decode_unfinished(
                model, progress, plan, None if upscaled is not None else init_image, sink
            )
        raise
    if not bool(torch.isfinite(latents).all()):
        raise UNetOverflow(plan.checkpoint)
    if recorder is not None:
        sink(Phase("Rendering the recorded steps"))
        recording = recorder.render(components, model.latent_to_rgb, model.model_sigmas, latents)
        sink(Output("recording", recording))
    return latents, init_image


def _init_extensions(
    components: Components, plan: Plan, init_image: InitImage | None
) -> list[StepExtension]:
    """Return what the init image, or its absence, adds to every step: channels of the UNet's input, and a mask."""
    request = plan.request
    if init_image is None:
        mask = None
        channels = concat.make_empty_concat_cond(components, request.width, request.height)
    else:
        assert isinstance(request, InitImageRequest), "only those have an init image"
        mask, channels = init_image.inpaint_mask(request), init_image.concat_cond
    on_input = plan.sampler.family.mask_before_denoising
    return [
        *([] if channels is None else [ConcatChannels(channels)]),
        *([] if mask is None else [MaskedLatents(mask, on_input)]),
    ]


def _encode_init_image(model: LoadedModel, plan: Plan, sink: Sink) -> InitImage | None:
    """Return the encoded init image, None for a request without one."""
    if not isinstance(plan.request, InitImageRequest):
        return None
    sink(Phase("Encoding the image"))
    init_image = model.encode_init_image(plan.request, plan.settings, plan.checkpoint.name)
    if init_image.depth_map is not None:
        sink(Output("depth map", init_image.depth_map))
    return init_image


def _encode_upscaled(
    model: LoadedModel, plan: Plan, sink: Sink, upscaled: hires.Upscaled
) -> InitImage:
    if upscaled.images:
        sink(Phase("Encoding the image"))
    mask_weight = plan.settings.inpainting_mask_weight
    return hires.encode_upscaled(model.components, upscaled, mask_weight)


def _decode_images(
    model: LoadedModel,
    latents: Tensor,
    plan: Plan,
    batch_index: int,
    init_image: InitImage | None,
    sink: Sink,
    cancel: CancelToken,
) -> None:
    # 5. Decode, one image at a time
    for row, image in enumerate(plan.batches[batch_index]):
        if image.index or not cancel.wants_unfinished():  # the first image needs no further step
            raise_if_interrupted(cancel)
        sink(Phase("Decoding"))
        result = _decode(model, latents, row, plan, init_image)
        sink(Output("image", result, image.index))


def _decode_unfinished(
    model: LoadedModel,
    progress: ProgressReporter,
    plan: Plan,
    init_image: InitImage | None,
    sink: Sink,
) -> None:
    """Pass on the job's first image as far as it has come, if somebody wants it."""
    latents = progress.unfinished
    if latents is not None:
        sink(Phase("Decoding"))
        sink(Output("unfinished image", _decode(model, latents, 0, plan, init_image)))


def _decode(
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
