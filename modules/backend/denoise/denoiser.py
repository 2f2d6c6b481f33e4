"""The denoiser D(x, sigma) of Karras et al. 2022: from a noisy sample to the predicted x0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from modules.backend.conditioning.text import Cond, PromptConditioning
from modules.backend.denoise.guidance import (
    Guidance,
    Predictions,
    combine,
    conds_at_step,
    group_by_call,
    skips_uncond,
)
from modules.backend.denoise.prediction import Prediction
from modules.backend.denoise.step_extensions import StepExtension, UNetCall
from modules.plan.plan import Plan
from modules.sampling.run_sigmas import RunSigmas

# A timestep this close below a whole number counts as that number.
_TIMESTEP_TOLERANCE = 1e-3
# Prompt, negative prompt and both together, for a few texts of prompt editing.
_MAX_JOINED = 8


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
class _JoinedConds:
    """The conditionings of a call as one batch.

    Args:
        conds: Kept, so that no other tensor gets their identity.
        hidden: [rows, tokens, hidden].
        added_kwargs: See `Cond.added_kwargs`.
    """

    conds: tuple[Cond, ...]
    hidden: Tensor
    added_kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A network and what it predicts.

    Args:
        unet: Of the pipeline.
        prediction: Row of PREDICTIONS.
        conds_per_call: How many conditionings the memory has room for in one call; None for all of them.
    """

    unet: UNet2DConditionModel
    prediction: Prediction
    conds_per_call: int | None = None


class Denoiser:
    """Calls the UNet for all prompts of an evaluation and returns x0.

    Args:
        network: The UNet and what it predicts.
        guidance: Combines the predictions; row of GUIDANCES.
        plan: CFG scale and options.
        run_sigmas: Of the run: the sampler, and the model's sigmas as modified for it.
        conditioning: The encoded prompts.
        extensions: Take part in every evaluation, in this order.
        sigmas: Of the evaluations, as far as they are known.
    """

    def __init__(
        self,
        network: Network,
        guidance: Guidance,
        plan: Plan,
        run_sigmas: RunSigmas,
        conditioning: PromptConditioning,
        extensions: Sequence[StepExtension] = (),
        sigmas: Sequence[float] = (),
    ) -> None:
        self._unet = network.unet
        self._prediction = network.prediction
        self._conds_per_call = network.conds_per_call
        self._guidance = guidance
        self._sampler = plan.sampler
        self._settings = plan.settings
        self._cfg_scale = plan.request.cfg_scale / plan.sampler.cfg_divisor
        steps = run_sigmas.planned_steps(*image_steps(plan))
        self._planned_evaluations = steps * plan.sampler.evaluations_per_step
        self._model_sigmas = run_sigmas.model_sigmas
        self._conditioning = conditioning
        self._extensions = extensions
        self._needs_difference = any(extension.needs_difference for extension in extensions)
        self._known = [self._evaluation(index, sigma) for index, sigma in enumerate(sigmas)]
        self._joined: dict[tuple[int, ...], _JoinedConds] = {}

    def __call__(self, x: Tensor, sigma: float, index: int) -> Denoised:
        """Return the predicted x0 of a sample.

        Args:
            x: Image plus sigma times unit noise, [batch, channels, height, width].
            sigma: Of the sample.
            index: Of the evaluation, from 0: the step of prompt editing.
        """
        is_known = index < len(self._known)
        evaluation = self._known[index] if is_known else self._evaluation(index, sigma)
        # 1. The network's input
        scale = self._prediction.input_scale(sigma)
        unchanged = model_input = x / scale
        for extension in self._extensions:
            model_input = extension.before(model_input, evaluation.timestep)
        model_x = x if model_input is unchanged else model_input * scale
        # 2. Predictions of all prompts, with guidance
        predictions, guided = self._predict(model_input, evaluation)
        # 3. x0
        timestep_sigma = self._timestep_sigma(evaluation)

        def to_x0(output: Tensor) -> Tensor:
            x0 = self._prediction.to_denoised(model_x, output, sigma, timestep_sigma)
            if model_x is not x:
                # The predicted noise is subtracted from the sampler's sample, not from the changed input.
                x0 = x0 + (x - model_x)
            for extension in self._extensions:
                x0 = extension.after(x0, sigma)
            return x0

        return Denoised(
            to_x0(guided),
            to_x0(predictions.uncond) if self._sampler.needs_uncond else None,
            self._difference(predictions),
        )

    def _predict(self, model_input: Tensor, evaluation: Evaluation) -> tuple[Predictions, Tensor]:
        """Return the network's predictions, and the guided one; all in the sample's dtype."""
        settings, weights = self._settings, self._conditioning.weights
        conds, uncond = conds_at_step(self._conditioning, evaluation.index, settings)
        scale = self._scale_without_uncond(evaluation)
        evaluated = uncond if scale is None else None
        groups = group_by_call(conds, evaluated, settings, self._conds_per_call)
        outputs = [
            output
            for group in groups
            for output in self._call_unet(model_input, group, evaluation, uncond)
        ]
        if scale is not None:
            predictions = Predictions(outputs, weights, outputs[0])
            return predictions, combine(predictions, scale)
        predictions = Predictions(outputs[1:], weights, outputs[0])
        guided = self._guidance.combine(predictions, self._cfg_scale, settings)
        return predictions, guided

    def _call_unet(
        self, model_input: Tensor, conds: Sequence[Cond], evaluation: Evaluation, uncond: Cond
    ) -> tuple[Tensor, ...]:
        """Return the prediction for each conditioning, one of them perhaps the uncond, from one call."""
        joined = self._join(conds, model_input.shape[0])
        call = UNetCall(
            torch.cat([model_input.to(self._unet.dtype)] * len(conds)),
            # Filled on the device: a tensor made of a number in the computer's memory would be copied, and waited for.
            torch.full((), evaluation.timestep, dtype=torch.float32, device=model_input.device),
            joined.hidden,
            evaluation.index,
            joined.added_kwargs,
            tuple(cond is uncond for cond in conds),
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
        for extension in self._extensions:
            output = extension.unet_output(call, output)
        return output.to(model_input.dtype).chunk(len(conds))

    def _join(self, conds: Sequence[Cond], batch: int) -> _JoinedConds:
        """Return the conditionings of a call as one batch, made once for all evaluations that have the same ones."""
        # Of all parts: prompt and negative prompt may share what is encoded, and have other sizes.
        key = (batch, *(id(part) for cond in conds for part in cond))
        joined = self._joined.get(key)
        if joined is None:
            hidden = torch.cat([cond.hidden.expand(batch, -1, -1) for cond in conds])
            joined = _JoinedConds(tuple(conds), hidden, Cond.added_kwargs(conds, batch))
            if len(self._joined) >= _MAX_JOINED:  # prompt editing may have other ones in every step
                self._joined.clear()
            self._joined[key] = joined
        return joined

    def _scale_without_uncond(self, evaluation: Evaluation) -> float | None:
        """Return the scale of an evaluation that skips the uncond, None if it does not."""
        if (
            self._cfg_scale * sum(self._conditioning.weights) == 1
            and not self._sampler.needs_uncond
        ):
            return self._cfg_scale  # the uncond's weight is 0
        by_timestep = self._sampler.family.mask_before_denoising
        compared = evaluation.timestep if by_timestep else evaluation.sigma
        planned = self._planned_evaluations
        return 1.0 if skips_uncond(self._settings, evaluation.index, planned, compared) else None

    def _difference(self, predictions: Predictions) -> Tensor | None:
        if not self._needs_difference or predictions.uncond is predictions.conds[0]:
            return None
        return combine(predictions, 1.0) - predictions.uncond

    def _evaluation(self, index: int, sigma: float) -> Evaluation:
        timestep = self._sampler.family.timestep_at(self._model_sigmas, sigma)
        return Evaluation(index, sigma, timestep)

    def _timestep_sigma(self, evaluation: Evaluation) -> float:
        """Return the sigma of the timestep by which the prediction is converted; A1111's DDIM family rounds it down."""
        if not self._sampler.family.floors_timesteps:
            return evaluation.sigma
        timestep = math.floor(evaluation.timestep + _TIMESTEP_TOLERANCE)
        return self._model_sigmas.sigma_at(timestep)


def image_steps(plan: Plan) -> tuple[float | None, bool]:
    """Return denoising strength, None for a run from noise, and whether all steps are run whatever the strength."""
    return plan.request.img2img_strength, plan.settings.img2img_fix_steps
