"""The denoiser D(x, sigma) of Karras et al. 2022: from a noisy sample to the predicted x0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from modules.backend.conditioning.text import PromptConditioning
from modules.backend.denoise.cond_batch import conds_at_step, group_by_call
from modules.backend.denoise.guidance import (
    Predictions,
    UncondSkipping,
    combine,
    find_guidance,
)
from modules.backend.denoise.prediction import Prediction
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.params.settings.guidance import GuidanceSettings
from modules.sampling.model_sigmas import ModelSigmas

# A timestep this close below a whole number counts as that number.
_TIMESTEP_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Denoised:
    """The result of one evaluation.

    Args:
        x0: The predicted clean sample, guidance included, [batch, channels, height, width].
        uncond_x0: Likewise from the uncond alone, if the sampler needs it.
        difference: Cond prediction less uncond prediction, if asked for and both were evaluated.
    """

    x0: Tensor
    uncond_x0: Tensor | None = None
    difference: Tensor | None = None


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the network.

    Args:
        index: From 0; the step of prompt editing.
        sigma: Of the sample.
        timestep: The model's timestep of the sigma; fractions are possible.
    """

    index: int
    sigma: float
    timestep: float


@dataclass(frozen=True)
class NetworkInput:
    """How a network wants its input.

    Args:
        prediction: What the network predicts.
        model_sigmas: The model's sigmas, modified by settings and sampler.
        floors_timesteps: Whether the prediction is converted with the sigma of the timestep rounded down, as in A1111's
            DDIM family.
    """

    prediction: Prediction
    model_sigmas: ModelSigmas
    floors_timesteps: bool = False

    def timestep_sigma(self, evaluation: Evaluation) -> float:
        """Return the sigma of the timestep by which the network's prediction is converted."""
        if not self.floors_timesteps:
            return evaluation.sigma
        timestep = math.floor(evaluation.timestep + _TIMESTEP_TOLERANCE)
        return self.model_sigmas.sigma_at(timestep)


@dataclass(frozen=True)
class GuidedPrompts:
    """The prompts of a run and how they are combined.

    Args:
        conditioning: The encoded prompts.
        cfg_scale: Strength of the guidance.
        settings: Guidance settings.
        skipping: Which evaluations skip the uncond.
        keeps_uncond: Whether the uncond is evaluated at any scale, for samplers that need its prediction.
    """

    conditioning: PromptConditioning
    cfg_scale: float
    settings: GuidanceSettings
    skipping: UncondSkipping
    keeps_uncond: bool = False

    def scale_without_uncond(self, evaluation: Evaluation) -> float | None:
        """Return the scale of an evaluation that skips the uncond, None if it does not."""
        if self.cfg_scale * sum(self.conditioning.weights) == 1 and not self.keeps_uncond:
            return self.cfg_scale  # the uncond's weight is 0
        skips = self.skipping.skips(evaluation.index, evaluation.sigma, evaluation.timestep)
        return 1.0 if skips else None


class Denoiser:
    """Calls the UNet for all prompts of an evaluation and returns x0.

    Args:
        unet: Of the pipeline.
        network_input: Scaling, prediction type and timesteps.
        prompts: Conditioning and guidance.
        extensions: Take part in every evaluation, in this order.
        sigmas: Of the evaluations, as far as they are known; their timesteps are copied to the device at once.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        network_input: NetworkInput,
        prompts: GuidedPrompts,
        extensions: Sequence[StepExtension] = (),
        sigmas: Sequence[float] = (),
    ) -> None:
        self._unet = unet
        self._input = network_input
        self._prompts = prompts
        self._extensions = extensions
        self._needs_difference = any(extension.needs_difference for extension in extensions)
        self._evaluations = [self._evaluation(index, s) for index, s in enumerate(sigmas)]
        self._timesteps: Tensor | None = None  # of these, on the device

    def __call__(self, x: Tensor, sigma: float, index: int) -> Denoised:
        """Return the predicted x0 of a sample.

        Args:
            x: Image plus sigma times unit noise, [batch, channels, height, width].
            sigma: Of the sample.
            index: Of the evaluation, from 0: the step of prompt editing.
        """
        prediction = self._input.prediction
        is_known = index < len(self._evaluations)
        evaluation = self._evaluations[index] if is_known else self._evaluation(index, sigma)
        # 1. The network's input
        scale = prediction.input_scale(sigma)
        unchanged = model_input = x / scale
        for extension in self._extensions:
            model_input = extension.before(model_input, sigma)
        model_x = x if model_input is unchanged else model_input * scale
        # 2. Predictions of all prompts, with guidance
        predictions, guided = self._predict(model_input, evaluation)
        # 3. x0
        timestep_sigma = self._input.timestep_sigma(evaluation)

        def to_x0(output: Tensor) -> Tensor:
            x0 = prediction.to_denoised(model_x, output, sigma, timestep_sigma)
            if model_x is not x:
                # The predicted noise is subtracted from the sampler's sample, not from the changed input.
                x0 = x0 + (x - model_x)
            for extension in self._extensions:
                x0 = extension.after(x0, sigma)
            return x0

        return Denoised(
            to_x0(guided),
            to_x0(predictions.uncond) if self._prompts.keeps_uncond else None,
            self._difference(predictions),
        )

    def _predict(self, model_input: Tensor, evaluation: Evaluation) -> tuple[Predictions, Tensor]:
        """Return the network's predictions, and the guided one; all in the sample's dtype."""
        prompts, settings = self._prompts, self._prompts.settings
        weights = prompts.conditioning.weights
        conds, uncond = conds_at_step(prompts.conditioning, evaluation.index, settings)
        scale = prompts.scale_without_uncond(evaluation)
        groups = group_by_call(conds, uncond if scale is None else None, settings)
        outputs = [
            output for group in groups for output in self._call_unet(model_input, group, evaluation)
        ]
        if scale is not None:
            predictions = Predictions(outputs, weights, outputs[0])
            return predictions, combine(predictions, scale)
        predictions = Predictions(outputs[1:], weights, outputs[0])
        guided = find_guidance(settings).combine(predictions, prompts.cfg_scale, settings)
        return predictions, guided

    def _call_unet(
        self, model_input: Tensor, conds: Sequence[Tensor], evaluation: Evaluation
    ) -> tuple[Tensor, ...]:
        """Return the prediction for each conditioning, from one call."""
        batch = model_input.shape[0]
        call = UNetCall(
            torch.cat([model_input.to(self._unet.dtype)] * len(conds)),
            self._timestep(evaluation, model_input.device),
            torch.cat([cond.expand(batch, -1, -1) for cond in conds]),
            evaluation.index,
        )
        for extension in self._extensions:
            call = extension.unet_call(call)
        output = self._unet(
            call.sample,
            call.timestep,
            encoder_hidden_states=call.encoder_hidden_states,
            return_dict=False,
            **call.kwargs,
        )[0]
        return output.to(model_input.dtype).chunk(len(conds))

    def _difference(self, predictions: Predictions) -> Tensor | None:
        if not self._needs_difference or predictions.uncond is predictions.conds[0]:
            return None
        return combine(predictions, 1.0) - predictions.uncond

    def _evaluation(self, index: int, sigma: float) -> Evaluation:
        return Evaluation(index, sigma, self._input.model_sigmas.timestep_at(sigma))

    def _timestep(self, evaluation: Evaluation, device: torch.device) -> Tensor:
        """Return the timestep on the device, copied there at once with all others that were known before the run."""
        if evaluation.index >= len(self._evaluations):
            return torch.tensor(evaluation.timestep, dtype=torch.float32, device=device)
        if self._timesteps is None:
            timesteps = [known.timestep for known in self._evaluations]
            self._timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)
        return self._timesteps[evaluation.index]
