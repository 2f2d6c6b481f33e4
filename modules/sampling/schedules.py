"""Schedules: which noise levels a run visits. Each is one function and one row of SCHEDULES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modules.core.registry import Registry
from modules.sampling.noise_levels import NoiseLevels


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    Args:
        name: What the page shows and the infotext carries.
        sigmas: From the number of steps and the model's levels to falling sigmas, one more than steps.
            None for "Automatic", which stands for the sampler's own schedule.
        aliases: Other names; the first is the one A1111's API uses.
    """

    name: str
    sigmas: Callable[[int, NoiseLevels], list[float]] | None
    aliases: tuple[str, ...] = ()


def uniform(steps: int, levels: NoiseLevels) -> list[float]:
    """Return the sigmas of timesteps spread evenly from the last to the first, then 0."""
    timesteps = np.linspace(levels.timestep_count - 1, 0, steps)
    return [*(levels.sigma_at(t) for t in timesteps), 0.0]


def karras(steps: int, levels: NoiseLevels, rho: float = 7.0) -> list[float]:
    """Return the schedule of Karras et al. 2022, equation 5, then 0."""
    ramp = np.linspace(0, 1, steps)
    low, high = levels.smallest ** (1 / rho), levels.largest ** (1 / rho)
    return [*((high + ramp * (low - high)) ** rho).tolist(), 0.0]


def ddim_timesteps(steps: int, levels: NoiseLevels) -> list[float]:
    """Return the sigmas of DDIM's evenly spaced timesteps, ending at timestep 1 rather than at 0.

    A1111 takes every (1000 // steps)-th timestep plus one (Song et al. 2021, section 4.2), so 20 steps
    visit 20 levels with 19 updates between them, and 30 steps visit 31.
    """
    stride = max(1, levels.timestep_count // steps)
    last = levels.timestep_count - 1
    timesteps = [min(t + 1, last) for t in range(0, levels.timestep_count, stride)]
    return [levels.sigma_at(t) for t in reversed(timesteps)]


SCHEDULES: Registry[Schedule] = Registry(
    "schedule type",
    [
        Schedule("Automatic", None),
        Schedule("Uniform", uniform),
        Schedule("Karras", karras),
    ],
)
