"""Classifier-free guidance, in the shape of the UNet that a pipeline calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.conditioning.text import PromptConditioning
from modules.params.settings.guidance import GuidanceSettings

_DEFAULTS = GuidanceSettings()


class RunPosition(Protocol):
    """The current evaluation of a sampler's run; implemented by SamplerScheduler."""

    index: int  # of the current evaluation, from 0

    @property
    def sigma(self) -> float:
        """Return the sigma of that evaluation."""
        ...

    def current_timestep(self) -> float:
        """Return its timestep of the model."""
        ...


@dataclass(frozen=True)
class StepClock:
    """The current evaluation of a run and the planned number of evaluations.

    Args:
        position: The sampler's position in its run.
        planned_steps: Number of evaluations that A1111 plans for the run.
        by_timestep: Whether "Negative guidance minimum sigma" is compared with timesteps, as A1111 does for the DDIM
            family.
    """

    position: RunPosition
    planned_steps: int
    by_timestep: bool = False

    @property
    def sigma_or_timestep(self) -> float:
        """Return the current sigma, or the current timestep if `by_timestep`."""
        return self.position.current_timestep() if self.by_timestep else self.position.sigma


class GuidedUNet(nn.Module):
    """Calls the UNet for all prompts and combines the predictions (Ho and Salimans 2022; AND: Liu et al. 2022).

    The pipeline runs with its own guidance off and receives one prediction per sample:
    uncond + sum of weight * cfg_scale * (cond - uncond).

    Args:
        unet: The network.
        conditioning: The encoded prompts.
        cfg_scale: Weight of the prompt against the negative prompt; 1 skips the negative prompt.
        settings: How prompts are padded to the same length, and when the negative prompt is skipped.
        clock: The current evaluation; None means the first.
        concat_cond: Extra input channels, [1, channels, height / 8, width / 8].

    Attributes:
        records_difference: Whether `difference` is recorded.
        difference: Cond minus uncond of the last evaluation, unscaled; None if the uncond was skipped.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        conditioning: PromptConditioning,
        cfg_scale: float,
        settings: GuidanceSettings = _DEFAULTS,
        clock: StepClock | None = None,
        concat_cond: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.conditioning = conditioning
        self.cfg_scale = cfg_scale
        self.settings = settings
        self.clock = clock
        self.concat_cond = concat_cond
        self.records_difference = False
        self.difference: Tensor | None = None
        self._keeps_uncond = False
        self._uncond_pred = torch.empty(0)

    def keep_uncond(self) -> Callable[[], Tensor]:
        """Evaluate the uncond at any scale, and return a function that returns its last prediction."""
        self._keeps_uncond = True
        return lambda: self._uncond_pred

    @property
    def config(self) -> Any:  # diffusers' FrozenDict
        """Return the network's configuration, which pipelines read."""
        return self.unet.config

    @property
    def dtype(self) -> torch.dtype:
        """Return the network's dtype."""
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        """Return the network's device."""
        return self.unet.device

    @property
    def prompt_embeds(self) -> Tensor:
        """Return a conditioning for the pipeline, which reads only its dtype and batch size."""
        return self.conditioning.conds[0].hidden[0]

    def forward(self, sample: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
        """Return the guided prediction in the sample's own dtype, same shape as the sample."""
        index = 0 if self.clock is None else self.clock.position.index
        conds = _to_same_length([cond.at_step(index) for cond in self.conditioning.conds])
        conds, uncond = self._pad_cond_uncond(conds, self.conditioning.uncond.at_step(index))
        scale = self._scale_without_uncond()
        if scale is not None:
            cond_preds = self._predict_all(sample, timestep, [conds])
            self._uncond_pred, self.difference = cond_preds[0], None
            return (self._combine(cond_preds, cond_preds[0], scale),)
        can_batch = self.settings.batch_cond_uncond and conds[0].shape == uncond.shape
        groups = [[uncond, *conds]] if can_batch else [[uncond], conds]
        uncond_pred, *cond_preds = self._predict_all(sample, timestep, groups)
        self._uncond_pred = uncond_pred
        if self.records_difference:
            self.difference = self._combine(cond_preds, uncond_pred, 1.0) - uncond_pred
        guided = self._combine(cond_preds, uncond_pred, self.cfg_scale)
        return (self._rescale_cfg(guided, cond_preds, uncond_pred),)

    def _scale_without_uncond(self) -> float | None:
        """Return the scale of an evaluation that skips the uncond, None if it does not.

        The first cond then takes the uncond's place, as in A1111.
        """
        if self.cfg_scale * sum(self.conditioning.weights) == 1 and not self._keeps_uncond:
            return self.cfg_scale  # the uncond's weight is 0
        if self.clock is None:
            return None
        settings, index = self.settings, self.clock.position.index
        if (
            settings.skip_early_cond > 0
            and index / self.clock.planned_steps <= settings.skip_early_cond
        ):
            return 1.0
        may_skip = settings.s_min_uncond_all or index % 2 == 1
        return 1.0 if may_skip and self.clock.sigma_or_timestep < settings.s_min_uncond else None

    def _pad_cond_uncond(self, conds: list[Tensor], uncond: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return both sides at the same length if the settings say so."""
        missing = conds[0].shape[1] - uncond.shape[1]
        if missing and self.settings.pad_cond_uncond_v0:
            return conds, _to_length(uncond, conds[0].shape[1])
        if missing and self.settings.pad_cond_uncond and self.conditioning.empty_cond is not None:
            empty = self.conditioning.empty_cond
            padding = empty.repeat(1, abs(missing) // empty.shape[1], 1)
            if missing > 0:
                return conds, torch.cat([uncond, padding], dim=1)
            return [torch.cat([cond, padding], dim=1) for cond in conds], uncond
        return conds, uncond

    def _predict_all(
        self, sample: Tensor, timestep: Tensor, groups: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """Return the network's prediction for each conditioning; a group is one batch."""
        if not self.settings.batch_cond_uncond:
            groups = [[cond] for group in groups for cond in group]
        return [pred for group in groups for pred in self._call_unet(sample, timestep, group)]

    def _call_unet(
        self, sample: Tensor, timestep: Tensor, conds: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        batch = sample.shape[0]
        model_input = sample.to(self.unet.dtype)
        if self.concat_cond is not None:
            concat_cond = self.concat_cond.to(model_input.dtype).expand(batch, -1, -1, -1)
            model_input = torch.cat([model_input, concat_cond], dim=1)
        preds = self.unet(
            torch.cat([model_input] * len(conds)),
            timestep,
            encoder_hidden_states=torch.cat([cond.expand(batch, -1, -1) for cond in conds]),
            return_dict=False,
        )[0]
        return preds.to(sample.dtype).chunk(len(conds))

    def _combine(self, cond_preds: Sequence[Tensor], base: Tensor, scale: float) -> Tensor:
        """Return base + sum of weight * scale * (cond - base)."""
        combined = base
        for weight, cond_pred in zip(self.conditioning.weights, cond_preds, strict=True):
            if cond_pred is not base:
                combined = combined + weight * scale * (cond_pred - base)
        return combined

    def _rescale_cfg(
        self, guided: Tensor, cond_preds: Sequence[Tensor], uncond_pred: Tensor
    ) -> Tensor:
        """Return the prediction rescaled towards the deviation of scale 1 (Lin et al. 2023, equations 14 to 16)."""
        phi = self.settings.cfg_rescale
        if not phi:
            return guided
        unscaled = self._combine(cond_preds, uncond_pred, 1.0)
        ratio = unscaled.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
        return guided * (phi * ratio + (1 - phi))


def _to_length(cond: Tensor, tokens: int) -> Tensor:
    """Return the conditioning truncated to a length, or padded to it with its last vector."""
    missing = max(0, tokens - cond.shape[1])
    return torch.cat([cond[:, :tokens], cond[:, -1:].expand(-1, missing, -1)], dim=1)


def _to_same_length(conds: list[Tensor]) -> list[Tensor]:
    """Return the sub-prompts of AND padded to the length of the longest, as in A1111."""
    longest = max(cond.shape[1] for cond in conds)
    return [cond if cond.shape[1] == longest else _to_length(cond, longest) for cond in conds]
