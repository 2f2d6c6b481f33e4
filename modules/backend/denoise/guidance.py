"""Classifier-free guidance as pure functions: the conditionings of an evaluation, and how predictions are combined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.backend.conditioning.text import Cond, PromptConditioning
from modules.params.settings.guidance import GuidanceSettings


@dataclass(frozen=True)
class Predictions:
    """The network's predictions of one evaluation, each [batch, channels, height, width].

    Args:
        conds: Of the sub-prompts joined by AND.
        weights: Of the sub-prompts.
        uncond: Of the negative prompt; where it is skipped, the first of `conds`.
    """

    conds: Sequence[Tensor]
    weights: Sequence[float]
    uncond: Tensor


@dataclass(frozen=True)
class Guidance:
    """One row of GUIDANCES.

    Args:
        name: For readers.
        applies: Whether the settings ask for it.
        combine: Returns the guided prediction from the predictions, the CFG scale and the settings.
    """

    name: str
    applies: Callable[[GuidanceSettings], bool]
    combine: Callable[[Predictions, float, GuidanceSettings], Tensor]


def combine(predictions: Predictions, scale: float) -> Tensor:
    """Return uncond + sum of weight * scale * (cond - uncond) (Ho and Salimans 2022; AND: Liu et al. 2022)."""
    uncond = predictions.uncond
    combined = uncond
    for weight, cond in zip(predictions.weights, predictions.conds, strict=True):
        if cond is not uncond:
            combined = combined + weight * scale * (cond - uncond)
    return combined


def _cfg(predictions: Predictions, scale: float, settings: GuidanceSettings) -> Tensor:
    del settings
    return combine(predictions, scale)


def _rescaled_cfg(predictions: Predictions, scale: float, settings: GuidanceSettings) -> Tensor:
    """Return the prediction rescaled towards the deviation of scale 1 (Lin et al. 2023, equations 14 to 16)."""
    phi = settings.cfg_rescale
    guided, unscaled = combine(predictions, scale), combine(predictions, 1.0)
    ratio = unscaled.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
    return guided * (phi * ratio + (1 - phi))


# The first row that applies is used.
GUIDANCES: tuple[Guidance, ...] = (
    Guidance("CFG rescale", lambda settings: settings.cfg_rescale > 0, _rescaled_cfg),
    Guidance("CFG", lambda _: True, _cfg),
)


def find_guidance(
    settings: GuidanceSettings, guidances: Sequence[Guidance] = GUIDANCES
) -> Guidance:
    """Return the row that the settings ask for."""
    return next(row for row in guidances if row.applies(settings))


def skips_uncond(
    settings: GuidanceSettings, index: int, planned_evaluations: int, sigma_or_timestep: float
) -> bool:
    """Return whether an evaluation needs no uncond; the first cond then takes its place, as in A1111.

    Args:
        settings: "Negative guidance minimum sigma" and "Ignore negative prompt during early sampling".
        index: Of the evaluation, from 0.
        planned_evaluations: How many A1111 plans for the run.
        sigma_or_timestep: What is compared with the minimum sigma; for the DDIM family A1111 compares the timestep.
    """
    is_early = index / planned_evaluations <= settings.skip_early_cond
    if settings.skip_early_cond > 0 and is_early:
        return True
    may_skip = settings.s_min_uncond_all or index % 2 == 1
    return may_skip and sigma_or_timestep < settings.s_min_uncond


def conds_at_step(
    conditioning: PromptConditioning, index: int, settings: GuidanceSettings
) -> tuple[list[Cond], Cond]:
    """Return the conds and the uncond of an evaluation, counted from 0, padded as the settings say."""
    conds, uncond = _hidden_at_step(conditioning, index, settings)
    return [
        Cond(hidden, cond.pooled_at_step(index), cond.time_ids)
        for hidden, cond in zip(conds, conditioning.conds, strict=True)
    ], Cond(uncond, conditioning.uncond.pooled_at_step(index), conditioning.uncond.time_ids)


def _hidden_at_step(
    conditioning: PromptConditioning, index: int, settings: GuidanceSettings
) -> tuple[list[Tensor], Tensor]:
    conds = _to_same_length([cond.at_step(index) for cond in conditioning.conds])
    uncond = conditioning.uncond.at_step(index)
    missing = conds[0].shape[1] - uncond.shape[1]
    if missing and settings.pad_cond_uncond_v0:
        return conds, _to_length(uncond, conds[0].shape[1])
    if missing and settings.pad_cond_uncond and conditioning.empty_cond is not None:
        empty = conditioning.empty_cond
        padding = empty.repeat(1, abs(missing) // empty.shape[1], 1)
        if missing > 0:
            return conds, torch.cat([uncond, padding], dim=1)
        return [torch.cat([cond, padding], dim=1) for cond in conds], uncond
    return conds, uncond


def group_by_call(
    conds: Sequence[Cond],
    uncond: Cond | None,
    settings: GuidanceSettings,
    largest: int | None = None,
) -> list[list[Cond]]:
    """Return the conditionings by call of the UNet, the uncond first; each group has one length.

    Args:
        conds: Of the sub-prompts.
        uncond: Of the negative prompt; None where it is skipped.
        settings: "Batch cond/uncond".
        largest: How many conditionings a call may have; None for any number.
    """
    if not settings.batch_cond_uncond:
        largest = 1
    if uncond is None:
        groups = [list(conds)]
    elif conds[0].hidden.shape == uncond.hidden.shape:
        groups = [[uncond, *conds]]
    else:
        groups = [[uncond], list(conds)]
    if largest is None:
        return groups
    return [
        group[start : start + largest]
        for group in groups
        for start in range(0, len(group), largest)
    ]


def _to_length(cond: Tensor, tokens: int) -> Tensor:
    """Return the conditioning truncated to a length, or padded to it with its last vector."""
    missing = max(0, tokens - cond.shape[1])
    return torch.cat([cond[:, :tokens], cond[:, -1:].expand(-1, missing, -1)], dim=1)


def _to_same_length(conds: list[Tensor]) -> list[Tensor]:
    """Return the sub-prompts of AND padded to the length of the longest, as in A1111."""
    longest = max(cond.shape[1] for cond in conds)
    return [cond if cond.shape[1] == longest else _to_length(cond, longest) for cond in conds]
