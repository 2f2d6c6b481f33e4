"""Plan to pictures: the whole road, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from modules.backend import hires, memory, vae
from modules.backend.conditioning.init_image import InitImage
from modules.backend.denoise.progress import ProgressReporter, raise_if_interrupted
from modules.backend.denoise.recorder import Recorder
from modules.backend.model import LoadedModel
from modules.backend.noise.noise import ImageNoise, noise_options
from modules.backend.pipelines import sampling_run
from modules.backend.seamless import circular_padding
from modules.core.errors import NotFinite
from modules.models.manager import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.events import Listener
from modules.params.requests.init_image import InitImageRequest
from modules.plan.plan import Plan

Acquire = Callable[[ModelSpec], LoadedModel]  # loads a checkpoint that is not loaded yet


class UNetOverflow(NotFinite):
    """The UNet's numbers left its precision; a higher one may hold them.

    Args:
        checkpoint: Whose UNet it is.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(
            "The UNet produced invalid numbers, so there is no picture to show.",
            "Try another checkpoint or start with --no-half.",
        )
        self.checkpoint = checkpoint


def generate_batch(
    acquire: Acquire, plan: Plan, batch_index: int, listener: Listener, device: torch.device
) -> None:
    """Make one batch and hand each picture to the listener as it is finished.

    Raises:
        Cancelled: the job was interrupted; pictures handed over before stay.
        BatchSkipped: the batch was; likewise.
        UNetOverflow: a UNet produced invalid numbers; no picture of the batch was handed over.
        NotFinite: the VAE did, in 32-bit floats.
        OutOfMemory: the batch does not fit.
        UserError: a picture is to be repainted without a depth map, and the checkpoint cannot estimate one.
    """
    model, second = acquire(plan.model), plan.hires
    memory.check(model.components, plan.request, device)
    stepper = ProgressReporter(listener, plan, batch_index)
    if second is None:
        with _edges(model, plan):
            latents, seen = _pass(model, plan, batch_index, listener, stepper)
            return _decode_each(model, latents, plan, batch_index, seen, listener)
    memory.check(model.components, second.plan.request, device)
    with _edges(model, plan):
        latents, _ = _pass(model, plan, batch_index, listener, stepper)
        listener.on_phase("Enlarging")
        latents = hires.upscale_latents(model.components.vae, latents, second.upscaler, second.size)
    if second.plan.model != plan.model:
        del model  # two may not fit
        listener.on_phase(f"Loading {second.plan.checkpoint.name}")
    model = acquire(second.plan.model)
    with _edges(model, plan):
        latents, _ = _pass(model, second.plan, batch_index, listener, stepper, latents)
        return _decode_each(model, latents, plan, batch_index, None, listener)


def _edges(model: LoadedModel, plan: Plan) -> AbstractContextManager[None]:
    parts = model.components
    return circular_padding(parts.unet, parts.vae, enabled=plan.settings.tiling)


def _pass(
    model: LoadedModel,
    plan: Plan,
    batch_index: int,
    listener: Listener,
    stepper: ProgressReporter,
    enlarged: Tensor | None = None,
) -> tuple[Tensor, InitImage | None]:
    """Return the latents that a pass ends with, and what it saw of a picture.

    Args:
        model: The loaded checkpoint.
        plan: Of this pass.
        batch_index: Number of the batch, from 0.
        listener: Told what is done.
        stepper: Told of each step.
        enlarged: What a second pass repaints: latents, [pictures, channels, height / 8, width / 8].
    """
    request, components, batch = plan.request, model.components, plan.batches[batch_index]
    stepper.begin_pass(model)
    # 1. Words
    listener.on_phase("Reading the prompt")
    steering = model.encode_prompts(
        request.prompt, request.negative_prompt, plan.timeline, plan.settings
    )
    # 2. The picture that is repainted, if there is one
    seen = (
        _look(model, plan, listener)
        if enlarged is None
        else hires.init_image_from_latents(components, enlarged)
    )
    # 3. Noise, from each picture's own seed
    channels, device = components.vae.config["latent_channels"], components.unet.device
    shape = (channels, request.height // 8, request.width // 8)
    noise = ImageNoise(batch, shape, device, noise_options(plan))
    begun = (
        None
        if seen is None
        else seen.with_masked_content(ImageNoise(batch, shape, device, noise_options(plan)))
    )
    # 4. Steps
    listener.on_phase("Sampling" if enlarged is None else "Sampling the larger picture")
    recorder = Recorder(stepper) if plan.record and batch_index == 0 else None
    latents = sampling_run.sample(model, plan, steering, begun, noise, recorder or stepper)
    if not bool(torch.isfinite(latents).all()):
        raise UNetOverflow(plan.checkpoint)
    if recorder is not None:
        listener.on_phase("Drawing the figures")
        listener.on_recording(recorder.finish(model, latents))
    return latents, seen


def _look(model: LoadedModel, plan: Plan, listener: Listener) -> InitImage | None:
    """Return what is seen of the picture that is repainted, None when there is none."""
    if not isinstance(plan.request, InitImageRequest):
        return None
    listener.on_phase("Reading the picture")
    seen = model.encode_init_image(plan.request, plan.settings, plan.checkpoint.name)
    if seen.depth_map is not None:
        listener.on_depth_map(seen.depth_map)
    return seen


def _decode_each(
    model: LoadedModel,
    latents: Tensor,
    plan: Plan,
    batch_index: int,
    seen: InitImage | None,
    listener: Listener,
) -> None:
    for row, image in enumerate(plan.batches[batch_index]):
        raise_if_interrupted(listener)
        listener.on_phase("Decoding")
        own = latents[row : row + 1]
        result = vae.decode(model.components.vae, own)
        if seen is not None:
            assert isinstance(plan.request, InitImageRequest)
            result = seen.composite(plan.request, plan.settings, own, result)
        listener.on_image(image.index, result)
