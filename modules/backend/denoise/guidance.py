"""Classifier-free guidance as pure functions: how predictions are combined, and when the uncond is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

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


def find_guidance(settings: GuidanceSettings) -> Guidance:
    """Return the row of GUIDANCES that the settings ask for."""
    return next(row for row in GUIDANCES if row.applies(settings))


@dataclass(frozen=True)
class UncondSkipping:
    """Which evaluations skip the uncond; the first cond then takes its place, as in A1111.

    Args:
        settings: "Negative guidance minimum sigma" and "Ignore negative prompt during early sampling".
        planned_steps: Number of evaluations that A1111 plans for the run.
        by_timestep: Whether the minimum sigma is compared with timesteps, as A1111 does for the DDIM family.
    """

    settings: GuidanceSettings
    planned_steps: int
    by_timestep: bool = False

    def skips(self, index: int, sigma: float, timestep: float) -> bool:
        """Return whether the evaluation of this index, counted from 0, needs no uncond."""
        settings = self.settings
        is_early = index / self.planned_steps <= settings.skip_early_cond
        if settings.skip_early_cond > 0 and is_early:
            return True
        may_skip = settings.s_min_uncond_all or index % 2 == 1
        return may_skip and (timestep if self.by_timestep else sigma) < settings.s_min_uncond
