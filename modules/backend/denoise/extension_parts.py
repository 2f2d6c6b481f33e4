"""Makes the step extensions of extensions, and keeps an error in one of them a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from modules.backend.components import Components
from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.backend.denoise.step_extensions import (
    ConcatChannels,
    MaskedLatents,
    StepExtension,
    StepState,
    UNetCall,
)
from modules.params.requests.base import GenerationRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.plan.plan import ImagePlan, Plan
from modules.plan.step_extensions import StepExtensionRow, naming_extension

R = TypeVar("R")


@dataclass(frozen=True)
class StepContext:
    """What a row of an extension makes its step extension from.

    Args:
        request: Of this pass: its size, steps and prompts.
        settings: The options of the job, those of extensions included.
        images: The images of this batch, with their seeds: every draw takes a generator of one of them.
        is_hires_pass: Whether it is the second pass of hires fix.
        components: The networks of the checkpoint.
        device: Where the latents are.
    """

    request: GenerationRequest
    settings: Settings
    images: tuple[ImagePlan, ...]
    is_hires_pass: bool
    components: Components
    device: torch.device


class ContainedStep(StepExtension):
    """A step extension of an extension, whose errors name it and whose tensors have the shape that is needed.

    Args:
        row: Where it is from.
        inner: The extension's own.
    """

    def __init__(self, row: StepExtensionRow, inner: StepExtension) -> None:
        self._row = row
        self._inner = inner
        self.needs_difference = inner.needs_difference

    def before(self, model_input: Tensor, timestep: float) -> Tensor:
        """Return the network's input as the extension changes it."""
        return self._tensor(self._inner.before, model_input, timestep)

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the arguments of a call of the UNet as the extension changes them."""
        return self._run(lambda: self._inner.unet_call(call))

    def unet_output(self, call: UNetCall, output: Tensor) -> Tensor:
        """Return the network's predictions as the extension changes them."""
        return self._tensor(lambda tensor: self._inner.unet_output(call, tensor), output)

    def after(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return the predicted x0 as the extension changes it."""
        return self._tensor(self._inner.after, denoised, sigma)

    def on_step(self, state: StepState) -> None:
        """Pass the state on."""
        self._run(lambda: self._inner.on_step(state))

    def finish(self, latents: Tensor) -> Tensor:
        """Return the final latents as the extension changes them."""
        return self._tensor(self._inner.finish, latents)

    def _run(self, call: Callable[[], R]) -> R:
        with naming_extension(self._row.report, self._row.name):
            return call()

    def _tensor(self, change: Callable[..., Tensor], tensor: Tensor, *others: float) -> Tensor:
        def call() -> Tensor:
            changed: object = change(tensor, *others)
            shape = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            if not isinstance(changed, Tensor) or changed.shape != tensor.shape:
                raise ValueError(
                    f"It must return a tensor of the shape {list(tensor.shape)}, not {shape}."
                )
            return changed.to(tensor.dtype)

        return self._run(call)


def make_step_extensions(
    plan: Plan, batch_index: int, components: Components, device: torch.device
) -> tuple[StepExtension, ...]:
    """Return what extensions add to a pass of a batch.

    Args:
        plan: Of the pass.
        batch_index: Of the batch, from 0.
        components: The networks of its checkpoint.
        device: Where the latents are.

    Raises:
        ExtensionFailed: one of them cannot be made.
    """
    context = StepContext(
        plan.request,
        plan.settings,
        plan.batches[batch_index],
        plan.first_pass_evaluations is not None,
        components,
        device,
    )
    made: list[StepExtension] = []
    for row in plan.step_extensions:
        with naming_extension(row.report, row.name):
            inner: object = row.make(context)
            if inner is None:
                continue
            if not isinstance(inner, StepExtension):
                raise ValueError(f"It made no StepExtension, but a {type(inner).__name__}.")
            made.append(ContainedStep(row, inner))
    return tuple(made)


def make_init_extensions(
    components: Components, plan: Plan, init_image: InitImage | None
) -> list[StepExtension]:
    """Return what the init image, or its absence, adds to every step: channels of the UNet's input, and a mask.

    Args:
        components: Of the checkpoint.
        plan: Of the pass.
        init_image: Of the batch.
    """
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
