"""Prompts to one prediction: classifier-free guidance where a pipeline expects its UNet."""

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
    """Where in its run a sampler is; SamplerScheduler tells it."""

    index: int  # number of the evaluation that is due, from 0

    @property
    def sigma(self) -> float:
        """Return the noise level of that evaluation."""
        ...

    def current_timestep(self) -> float:
        """Return the same as the model's timestep."""
        ...


@dataclass(frozen=True)
class StepClock:
    """Tells which evaluation of a run is due.

    Args:
        position: The sampler's place in its run.
        planned_steps: How many evaluations A1111 plans for the run.
        by_timestep: Whether "Negative guidance minimum sigma" is held against timesteps, as A1111 does for DDIM and
            its like.
    """

    position: RunPosition
    planned_steps: int
    by_timestep: bool = False

    @property
    def sigma_or_timestep(self) -> float:
        """Return the noise level that is due."""
        return self.position.current_timestep() if self.by_timestep else self.position.sigma


class GuidedUNet(nn.Module):
    """Calls the network for all prompts and joins the answers (Ho and Salimans 2022; AND: Liu et al. 2022).

    The pipeline runs with its own guidance off and sees one prediction per sample:
    uncond + sum of weight * cfg_scale * (cond - uncond).

    Args:
        unet: The network.
        conditioning: The prompts.
        cfg_scale: Weight of the prompt against the negative prompt; 1 skips the negative prompt.
        settings: How prompts of different length meet, and when the negative prompt is skipped.
        clock: Tells which evaluation is due; None stands at the first.
        concat_cond: What the network sees beside the latents, [1, channels, height / 8, width / 8].

    Attributes:
        records_difference: Whether `difference` is kept.
        difference: What the prompts have added to the last answer before they were scaled; None where none was asked.
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
        """Ask for both prompts at any scale, and return what tells the last answer to the negative one alone."""
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
        """Return where the network lives."""
        return self.unet.device

    @property
    def prompt_embeds(self) -> Tensor:
        """Return a conditioning for the pipeline, which reads nothing but its dtype and batch size."""
        return self.conditioning.conds[0].tensors[0]

    def forward(self, sample: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
        """Return the guided prediction in the sample's own dtype, same shape as the sample."""
        call = 0 if self.clock is None else self.clock.position.index
        conds = _to_one_length([cond.at_step(call) for cond in self.conditioning.conds])
        conds, uncond = self._pad_cond_uncond(conds, self.conditioning.uncond.at_step(call))
        scale = self._scale_without_uncond()
        if scale is not None:
            answers = self._predict_all(sample, timestep, [conds])
            self._uncond_pred, self.difference = answers[0], None
            return (self._combine(answers, answers[0], scale),)
        together = self.settings.batch_cond_uncond and conds[0].shape == uncond.shape
        groups = [[uncond, *conds]] if together else [[uncond], conds]
        base, *answers = self._predict_all(sample, timestep, groups)
        self._uncond_pred = base
        if self.records_difference:
            self.difference = self._combine(answers, base, 1.0) - base
        return (self._rescale_cfg(self._combine(answers, base, self.cfg_scale), answers, base),)

    def _scale_without_uncond(self) -> float | None:
        """Return the scale of an evaluation that goes without the negative prompt, None of one with it.

        The first prompt then takes the negative one's place, as in A1111.
        """
        if self.cfg_scale * sum(self.conditioning.weights) == 1 and not self._keeps_uncond:
            return self.cfg_scale  # the negative prompt's share is 0
        if self.clock is None:
            return None
        settings, index = self.settings, self.clock.position.index
        if (
            settings.skip_early_cond > 0
            and index / self.clock.planned_steps <= settings.skip_early_cond
        ):
            return 1.0
        due = settings.s_min_uncond_all or index % 2 == 1
        return 1.0 if due and self.clock.sigma_or_timestep < settings.s_min_uncond else None

    def _pad_cond_uncond(self, conds: list[Tensor], uncond: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return both sides at the same length where the options ask for it."""
        missing = conds[0].shape[1] - uncond.shape[1]
        if missing and self.settings.pad_cond_uncond_v0:
            return conds, _to_length(uncond, conds[0].shape[1])
        if missing and self.settings.pad_cond_uncond and self.conditioning.empty_cond is not None:
            empty = self.conditioning.empty_cond
            filling = empty.repeat(1, abs(missing) // empty.shape[1], 1)
            if missing > 0:
                return conds, torch.cat([uncond, filling], dim=1)
            return [torch.cat([cond, filling], dim=1) for cond in conds], uncond
        return conds, uncond

    def _predict_all(
        self, sample: Tensor, timestep: Tensor, groups: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """Return the network's answer to each conditioning; those of a group are asked at once."""
        if not self.settings.batch_cond_uncond:
            groups = [[cond] for group in groups for cond in group]
        return [answer for group in groups for answer in self._call_unet(sample, timestep, group)]

    def _call_unet(
        self, sample: Tensor, timestep: Tensor, conds: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        batch = sample.shape[0]
        seen = sample.to(self.unet.dtype)
        if self.concat_cond is not None:
            seen = torch.cat(
                [seen, self.concat_cond.to(seen.dtype).expand(batch, -1, -1, -1)], dim=1
            )
        answers = self.unet(
            torch.cat([seen] * len(conds)),
            timestep,
            encoder_hidden_states=torch.cat([cond.expand(batch, -1, -1) for cond in conds]),
            return_dict=False,
        )[0]
        return answers.to(sample.dtype).chunk(len(conds))

    def _combine(self, answers: Sequence[Tensor], base: Tensor, scale: float) -> Tensor:
        """Return base + sum of weight * scale * (answer - base)."""
        joined = base
        for weight, answer in zip(self.conditioning.weights, answers, strict=True):
            if answer is not base:
                joined = joined + weight * scale * (answer - base)
        return joined

    def _rescale_cfg(self, guided: Tensor, answers: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the prediction at the contrast of the unguided one, mixed in (Lin et al. 2023, equations 14 to 16)."""
        share = self.settings.cfg_rescale
        if not share:
            return guided
        plain = self._combine(answers, base, 1.0)
        ratio = plain.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
        return guided * (share * ratio + (1 - share))


def _to_length(cond: Tensor, tokens: int) -> Tensor:
    """Return the conditioning cut to a length, or with its last vector repeated up to it."""
    missing = max(0, tokens - cond.shape[1])
    return torch.cat([cond[:, :tokens], cond[:, -1:].expand(-1, missing, -1)], dim=1)


def _to_one_length(conds: list[Tensor]) -> list[Tensor]:
    """Return the parts that AND joins at the length of the longest, as A1111 brings them to it."""
    longest = max(cond.shape[1] for cond in conds)
    return [cond if cond.shape[1] == longest else _to_length(cond, longest) for cond in conds]
