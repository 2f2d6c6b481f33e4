"""What a sampler is: a generator that walks down noise levels and asks for a prediction at each.

It yields `(x, sigma)`, is sent the network's `denoised` prediction for it, and returns the final `x`. `x` is the
picture plus sigma times unit noise (Karras et al. 2022); sigmas are plain floats. Run with plain floats for `x`, too,
and without noise, a sampler tells which levels it will visit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

Tensor = Any  # a torch tensor, or a float in a dry run; this floor does not know torch


class Noise(Protocol):
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


class Silence:
    """The noise of a dry run: none."""

    def __call__(self) -> Tensor:
        """Return 0."""
        return 0.0

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return 0."""
        del sigma, sigma_next
        return 0.0


Steps = Generator[tuple[Tensor, float], Tensor, Tensor]
SamplerFn = Callable[[Tensor, Sequence[float], Noise], Steps]


def visited_levels(run: SamplerFn, sigmas: Sequence[float]) -> list[float]:
    """Return the sigma of each network evaluation, by running the sampler on the number 0."""
    walk = run(0.0, sigmas, Silence())
    visited: list[float] = []
    try:
        _, sigma = next(walk)
        while True:
            visited.append(sigma)
            _, sigma = walk.send(0.0)
    except StopIteration:
        return visited
