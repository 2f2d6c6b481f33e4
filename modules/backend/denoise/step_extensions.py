"""Step extensions: parts that take part in every evaluation of a run, such as a mask, extra channels or progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from modules.backend.conditioning.inpaint_mask import InpaintMask


@dataclass(frozen=True)
class UNetCall:
    """The arguments of one call of the UNet.

    Args:
        sample: [rows, channels, height, width] in the UNet's dtype, one row for each image and prompt.
        timestep: float32, one for all rows.
        encoder_hidden_states: [rows, tokens, hidden].
        index: Of the evaluation, from 0.
        kwargs: Further keyword arguments.
        is_uncond: For each prompt of the call, in the order of its rows, whether it is the negative prompt; each has as
            many rows as the batch has images.
    """

    sample: Tensor
    timestep: Tensor
    encoder_hidden_states: Tensor
    index: int
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_uncond: tuple[bool, ...] = ()


@dataclass(frozen=True)
class StepState:
    """The state after one evaluation of the network.

    Args:
        index: Of the evaluation, from 0.
        total: Number of evaluations of the run; for an adaptive sampler an estimate.
        x: The sampler's sample before the step, [batch, channels, height, width].
        sigma: Of the sample.
        denoised: The predicted x0, same shape.
        difference: Cond prediction less uncond prediction, if an extension needs it and both were evaluated.
    """

    index: int
    total: int
    x: Tensor
    sigma: float
    denoised: Tensor
    difference: Tensor | None = None


class StepExtension:
    """Takes part in a run; every method here changes nothing, and an extension overrides those it needs.

    Attributes:
        needs_difference: Whether it reads `StepState.difference`.
    """

    needs_difference = False

    def before(self, model_input: Tensor, timestep: float) -> Tensor:
        """Return the sample as the network gets it, scaled for the network; the same tensor to leave it unchanged."""
        del timestep
        return model_input

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the arguments of a call of the UNet."""
        return call

    def unet_output(self, call: UNetCall, output: Tensor) -> Tensor:
        """Return what the network predicts for the rows of a call, before guidance.

        Args:
            call: With its arguments as the network got them.
            output: Noise or v, [rows, channels, height, width], in the network's dtype.
        """
        del call
        return output

    def after(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return the predicted x0, guidance included."""
        del sigma
        return denoised

    def on_step(self, state: StepState) -> None:
        """Receive the state after an evaluation; may raise to stop the run."""

    def finish(self, latents: Tensor) -> Tensor:
        """Return the final latents of the run."""
        return latents


@dataclass(frozen=True)
class ConcatChannels(StepExtension):
    """Appends channels to the input of an inpainting, depth or InstructPix2Pix UNet.

    Args:
        channels: [1 or batch, extra channels, height, width].
    """

    channels: Tensor

    def unet_call(self, call: UNetCall) -> UNetCall:
        """Return the call with the channels after those of the sample."""
        copies = len(call.sample) // len(self.channels)  # the batch comes once for each prompt
        channels = self.channels.to(call.sample.dtype).repeat(copies, 1, 1, 1)
        return replace(call, sample=torch.cat([call.sample, channels], dim=1))


@dataclass(frozen=True)
class MaskedLatents(StepExtension):
    """Preserves the unmasked part of the init image.

    Args:
        mask: Blends latents with the init image.
        on_input: Whether the network's input is blended, as in A1111's DDIM family, or its prediction.
    """

    mask: InpaintMask
    on_input: bool

    def before(self, model_input: Tensor, timestep: float) -> Tensor:
        """Return the network's input, its unmasked part free of noise if it is the input that is blended."""
        return self.mask.blend(model_input, timestep) if self.on_input else model_input

    def after(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return x0 with the init latents in the unmasked part if it is the prediction that is blended."""
        return denoised if self.on_input else self.mask.blend(denoised, sigma)

    def finish(self, latents: Tensor) -> Tensor:
        """Return the final latents with the init latents in the unmasked part."""
        return self.mask.blend_result(latents)
