"""Plan to pictures: the whole road, stage by stage."""

from __future__ import annotations

import time

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modules.backend import memory, sample, vae
from modules.backend.cache import LoadedModel
from modules.backend.noise import ImageNoise, options_of
from modules.backend.picture import Seen
from modules.backend.scheduler import StepState
from modules.core.errors import Cancelled, NotFinite
from modules.params.repainting import RepaintingRequest
from modules.params.result import Listener, Progress
from modules.plan import Plan


class Overflow(NotFinite):
    """The UNet's numbers left its precision; a higher one may hold them."""


class Stepper:
    """Follows the steps of one batch: interrupt, progress, preview. No wait for the device but for a preview.

    Args:
        model: For the preview.
        listener: Whoever follows the job.
        batch_index: Number of the batch, from 0.
        batch_count: How many batches the job has.
    """

    def __init__(
        self, model: LoadedModel, listener: Listener, batch_index: int, batch_count: int
    ) -> None:
        self._model = model
        self._listener = listener
        self._batch_index = batch_index
        self._batch_count = batch_count
        self._began = time.perf_counter()

    def __call__(self, state: StepState) -> None:
        """Take note of one step.

        Raises:
            Cancelled: the job was interrupted.
        """
        stop_if_interrupted(self._listener)
        done = state.index + 1
        speed = done / max(time.perf_counter() - self._began, 1e-6)
        total = state.total
        self._listener.on_progress(
            Progress(self._batch_index * total + done, self._batch_count * total, speed)
        )
        if self._listener.wants_preview():
            self._listener.on_preview(self._model.preview(state.denoised))


def generate_batch(
    model: LoadedModel, plan: Plan, batch_index: int, listener: Listener, device: torch.device
) -> None:
    """Make one batch and hand each picture to the listener as it is finished.

    Raises:
        Cancelled: the job was interrupted; pictures handed over before stay.
        Overflow: the UNet produced invalid numbers; no picture of the batch was handed over.
        NotFinite: the VAE did, in 32-bit floats.
        OutOfMemory: the batch does not fit.
        UserError: a picture is to be repainted without a depth map, and the checkpoint cannot estimate one.
    """
    request = plan.request
    batch = plan.batches[batch_index]
    components = model.components
    memory.check(components, request, device)
    # 1. Words
    listener.on_phase("Reading the prompt")
    steering = model.steering(request.prompt, request.negative_prompt, plan.timeline, plan.settings)
    # 2. The picture that is repainted, if there is one
    seen = _look(model, plan, listener)
    # 3. Noise, from each picture's own seed
    channels = components.vae.config["latent_channels"]
    shape = (channels, request.height // 8, request.width // 8)
    noise = ImageNoise(batch, shape, device, options_of(plan))
    begun = None if seen is None else seen.begun(ImageNoise(batch, shape, device, options_of(plan)))
    # 4. Steps
    listener.on_phase("Sampling")
    stepper = Stepper(model, listener, batch_index, len(plan.batches))
    latents = sample.run(model, plan, steering, begun, noise, stepper)
    if not bool(torch.isfinite(latents).all()):
        raise Overflow(
            "The UNet produced invalid numbers, so there is no picture to show.",
            "Try another checkpoint or start with --no-half.",
        )
    # 5. Pictures, one by one
    _decode_each(components.vae, latents, plan, batch_index, seen, listener)


def _look(model: LoadedModel, plan: Plan, listener: Listener) -> Seen | None:
    """Return what is seen of the picture that is repainted, None when there is none."""
    if not isinstance(plan.request, RepaintingRequest):
        return None
    listener.on_phase("Reading the picture")
    seen = model.see(plan.request, plan.settings, plan.checkpoint.name)
    if seen.depth_map is not None:
        listener.on_depth_map(seen.depth_map)
    return seen


def _decode_each(
    autoencoder: AutoencoderKL,
    latents: Tensor,
    plan: Plan,
    batch_index: int,
    seen: Seen | None,
    listener: Listener,
) -> None:
    for row, image in enumerate(plan.batches[batch_index]):
        stop_if_interrupted(listener)
        listener.on_phase("Decoding")
        own = latents[row : row + 1]
        result = vae.decode(autoencoder, own)
        if seen is not None:
            assert isinstance(plan.request, RepaintingRequest)
            result = seen.finished(plan.request, plan.settings, own, result)
        listener.on_image(image.index, result)


def stop_if_interrupted(listener: Listener) -> None:
    """Raise Cancelled when the job should stop."""
    if listener.is_interrupted():
        raise Cancelled("The job was interrupted.")
