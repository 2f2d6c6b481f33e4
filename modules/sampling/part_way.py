"""Where a run begins that repaints a picture: the levels it still visits, and how far it is noised before.

Counts and levels are those of A1111 1.10.1, so that its infotexts give the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A full denoising strength is as good as this one, so that a step is always left of the schedule's.
_FULL = 0.999


@dataclass(frozen=True)
class Start:
    """A beginning within a schedule.

    Args:
        sigmas: The levels to visit, falling.
        noised_to: The level whose noise the picture is given.
    """

    sigmas: tuple[float, ...]
    noised_to: float

    @property
    def update_count(self) -> int:
        """Return how many updates lead from the first level to the last."""
        return max(0, len(self.sigmas) - 1)

    @property
    def scale(self) -> float:
        """Return what the noised picture is multiplied with to stand at the first level.

        It is 1 unless the picture was noised to another level: the sampler then takes the sample in its
        variance-preserving form, x / sqrt(1 + sigma^2), for one of its own first level.
        """
        return math.sqrt((1 + self.sigmas[0] ** 2) / (1 + self.noised_to**2))


def whole(sigmas: Sequence[float]) -> Start:
    """Return the start of a run from noise alone, which visits every level."""
    return Start(tuple(sigmas), sigmas[0])


def kept_steps(steps: int, denoising_strength: float) -> int:
    """Return A1111's t_enc: how many of the steps a denoising strength keeps, rounded down."""
    return int(min(denoising_strength, _FULL) * steps)


def begin(sigmas: Sequence[float], steps: int, denoising_strength: float) -> Start:
    """Return the start of most samplers: of 20 steps 0.75 keeps 16 updates, 0.5 11, 1 all, and 0 one.

    Args:
        sigmas: Of the whole schedule, one more than steps.
        steps: Of a whole run.
        denoising_strength: 0 to 1.
    """
    kept = tuple(sigmas[steps - kept_steps(steps, denoising_strength) - 1 :])
    return Start(kept, kept[0])


def begin_ddim(sigmas: Sequence[float], steps: int, denoising_strength: float) -> Start:
    """Return the start of DDIM, which noises the picture to the level before its first one.

    Of 20 steps 0.75 keeps 14 updates and 1 keeps 18; a strength that keeps fewer than two levels makes none.

    Args:
        sigmas: DDIM's own, of the whole run.
        steps: Of a whole run.
        denoising_strength: 0 to 1.
    """
    first = len(sigmas) - kept_steps(steps, denoising_strength)
    return Start(tuple(sigmas[first:]), sigmas[first - 1])
