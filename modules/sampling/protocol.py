"""What a sampler is: a generator that walks down noise levels and asks for a prediction at each.

It is given the first `x`, the levels (falling, plain floats), where noise comes from and the options. It yields
`(x, sigma)`, is sent the network's `denoised` prediction for it, and returns the final `x`. `x` is the picture plus
sigma times unit noise (Karras et al. 2022). Run with plain floats for `x`, too, and without noise, a sampler tells
which levels it will visit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

from modules.params.settings.sampling import SamplingSettings

DEFAULTS = SamplingSettings()

Tensor = Any  # a torch tensor, or a float in a dry run; this floor does not know torch


class NoiseSampler(Protocol):
    """Where a sampler takes fresh noise from; each picture of a batch has its own."""

    def __call__(self) -> Tensor:
        """Return the next unit noise, of the shape of `x`, from each picture's generator.

        The generators go on from draw to draw, so that who draws once more changes all that follows.
        """
        ...

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the unit noise of a step, of the shape of `x`: the increment of a Brownian motion over sigma.

        It is divided by the square root of the step's length. The motion is each picture's own, and the same however
        finely it is walked (Li et al. 2020, virtual Brownian tree); no generator moves on.
        """
        ...


class ZeroNoise:
    """The noise of a dry run: none."""

    def __call__(self) -> Tensor:
        """Return 0."""
        return 0.0

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return 0."""
        del sigma, sigma_next
        return 0.0


SamplerGenerator = Generator[tuple[Tensor, float], Tensor, Tensor]
SamplerFn = Callable[[Tensor, Sequence[float], NoiseSampler, SamplingSettings], SamplerGenerator]


def ancestral_step(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Return the level to step down to and the noise to add so that the sum lies at `sigma_next`.

    Karras et al. 2022, section 4: the share of noise that an ancestral step renews; eta 0 renews none.
    """
    up = eta * math.sqrt(max(0.0, sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2))
    up = min(sigma_next, up)
    return math.sqrt(sigma_next**2 - up**2), up


def visited_sigmas(
    run: SamplerFn,
    sigmas: Sequence[float],
    settings: SamplingSettings = DEFAULTS,
    denoised: Tensor = 0.0,
) -> list[float]:
    """Return the sigma of each network evaluation, by running the sampler on the number 0.

    Args:
        run: The sampler; not one that decides on the way how many evaluations it needs.
        sigmas: The levels that it is given.
        settings: Its options.
        denoised: What the sampler is sent for a prediction.
    """
    walk = run(0.0, sigmas, ZeroNoise(), settings)
    visited: list[float] = []
    try:
        _, sigma = next(walk)
        while True:
            visited.append(sigma)
            _, sigma = walk.send(denoised)
    except StopIteration:
        return visited
