"""The sampler protocol: a generator over falling sigmas that requests a prediction at each.

Its arguments are the initial `x`, the sigmas (falling, plain floats), the noise sampler and the settings. It yields
`(x, sigma)`, is sent the network's `denoised` prediction for it, and returns the final `x`. `x` is the image plus
sigma times unit noise (Karras et al. 2022). A dry run with floats for `x`, and without noise, lists the sigmas that a
sampler visits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.arithmetic import FLOAT64, Arithmetic

DEFAULTS = SamplingSettings()

Tensor = Any  # a torch tensor, or a float in a dry run; this layer does not import torch


class NoiseSampler(Protocol):
    """Source of a sampler's noise; each image of a batch has its own.

    Attributes:
        arithmetic: Of the sigmas that `between` gets.
    """

    arithmetic: Arithmetic

    def __call__(self) -> Tensor:
        """Return the next unit noise, of the shape of `x`, from each image's generator.

        The generators advance with each draw, so an extra draw changes all that follow.
        """
        ...

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the unit noise of a step, of the shape of `x`: the increment of a Brownian motion over sigma.

        It is divided by the square root of the step's length. Each image has its own motion, which does not depend on
        the step sizes (Li et al. 2020, virtual Brownian tree); no generator advances.
        """
        ...


class ZeroNoise:
    """The noise sampler of a dry run: always 0.

    Attributes:
        intervals: The intervals that `between` was asked for, in order.
        draws: How often the next noise was asked for.
    """

    def __init__(self, arithmetic: Arithmetic = FLOAT64) -> None:
        self.arithmetic = arithmetic
        self.intervals: list[tuple[float, float]] = []
        self.draws = 0

    def __call__(self) -> Tensor:
        """Return 0."""
        self.draws += 1
        return 0.0

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return 0."""
        self.intervals.append((sigma, sigma_next))
        return 0.0


SamplerGenerator = Generator[tuple[Tensor, float], Tensor, Tensor]
SamplerFn = Callable[[Tensor, Sequence[float], NoiseSampler, SamplingSettings], SamplerGenerator]


def ancestral_step(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Return sigma_down to step to, and sigma_up of the noise to add to reach `sigma_next`.

    Karras et al. 2022, section 4. eta scales the share of noise that the step renews; 0 renews none.
    """
    sigma_up = eta * math.sqrt(max(0.0, sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2))
    sigma_up = min(sigma_next, sigma_up)
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up


@dataclass(frozen=True)
class DryRun:
    """The noise that a sampler needs.

    Args:
        sigmas: The sigma of each network evaluation.
        intervals: The intervals of sigma of which it wants the noise of a Brownian motion.
        draws: How often it wants the next noise of each image's generator.
    """

    sigmas: Sequence[float] = ()
    intervals: Sequence[tuple[float, float]] = ()
    draws: int = 0


def run_dry(
    run: SamplerFn,
    sigmas: Sequence[float],
    settings: SamplingSettings = DEFAULTS,
    denoised: Tensor = 0.0,
    arithmetic: Arithmetic = FLOAT64,
) -> DryRun:
    """Return the noise that a sampler needs, by running it on the number 0.

    Args:
        run: The sampler; not an adaptive one.
        sigmas: The sigmas passed to it.
        settings: The settings passed to it.
        denoised: The prediction sent at each evaluation.
        arithmetic: That of the run's noise sampler.
    """
    noise = ZeroNoise(arithmetic)
    generator = run(0.0, sigmas, noise, settings)
    visited: list[float] = []
    try:
        _, sigma = next(generator)
        while True:
            visited.append(sigma)
            _, sigma = generator.send(denoised)
    except StopIteration:
        return DryRun(visited, noise.intervals, noise.draws)
