"""Where a run begins: the levels it visits, and how the first sample is made.

Counts and levels are those of A1111 1.10.1, so that its infotexts give the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.schedules import Schedule

# A full denoising strength is as good as this one, so that a step is always left of the schedule's.
_FULL = 0.999


@dataclass(frozen=True)
class Start:
    """A beginning: the first sample is (picture + unit noise * noised_to) * scale, without a picture noise alone.

    Args:
        sigmas: The levels to visit, falling.
        noised_to: The level whose noise the picture is given.
        scale: Brings the sample to the first level if the picture is noised to another one.
    """

    sigmas: tuple[float, ...]
    noised_to: float
    scale: float = 1.0


@dataclass(frozen=True)
class Count:
    """How a denoising strength cuts a run.

    Args:
        steps: Of the whole schedule.
        kept: How many of them are kept: A1111's t_enc.
    """

    steps: int
    kept: int


def count(steps: int, denoising_strength: float, exact: bool = False) -> Count | None:
    """Return how many steps a run from a picture makes, or None when it makes none.

    Args:
        steps: As asked for.
        denoising_strength: 0 to 1.
        exact: Whether all steps are made, by a schedule with more of them ("Do exactly the amount of steps").
    """
    share = min(denoising_strength, _FULL)
    if not exact:
        return Count(steps, int(share * steps))
    return Count(int(steps / share), steps - 1) if share > 0 else None


@dataclass(frozen=True)
class Kind:
    """What a family of samplers has in common about its levels: A1111 has two of them.

    Args:
        sigmas: From the number of steps, the schedule, the model's levels and the options to the whole run's levels.
        whole: From these and the options to the start of a run from noise alone.
        part_way: From these and a count to the start of a run from a picture.
        hears_schedule: Whether a chosen schedule counts.
        least_steps: A run from noise with fewer would make no update.
        least_kept: A run from a picture that keeps fewer would make none.
        masks_before: Whether the kept part of a picture is put back before the network sees it rather than into
            what it predicts.
        floors_timesteps: Whether v is turned into noise by the level of the whole timestep below, as A1111 does;
            UniPC visits levels between them.
    """

    sigmas: Callable[[int, Schedule, NoiseLevels, SamplingSettings], list[float]]
    whole: Callable[[Sequence[float], SamplingSettings], Start]
    part_way: Callable[[Sequence[float], Count], Start]
    hears_schedule: bool = True
    least_steps: int = 1
    least_kept: int = 0
    masks_before: bool = False
    floors_timesteps: bool = False


def _scheduled(
    steps: int, schedule: Schedule, levels: NoiseLevels, settings: SamplingSettings
) -> list[float]:
    assert schedule.sigmas is not None, "Automatic has been replaced by what it stands for"
    return schedule.sigmas(steps, levels, settings)


def _from_noise(sigmas: Sequence[float], settings: SamplingSettings) -> Start:
    first = sigmas[0]
    return Start(tuple(sigmas), math.hypot(1, first) if settings.sgm_noise_multiplier else first)


def _from_picture(sigmas: Sequence[float], counted: Count) -> Start:
    """Return the start of most samplers: of 20 steps 0.75 keeps 16 updates, 0.5 11, 1 all, and 0 one."""
    first = min(counted.steps - counted.kept - 1, len(sigmas) - 2)
    return Start(tuple(sigmas[first:]), sigmas[first])


def ddim_timesteps(
    steps: int, schedule: Schedule, levels: NoiseLevels, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas of DDIM's evenly spaced timesteps, ending at timestep 1 rather than at 0.

    A1111 takes every (1000 // steps)-th timestep plus one (Song et al. 2021, section 4.2), so 20 steps visit 20 levels
    with 19 updates between them, and 30 steps visit 31. To leave out the next-to-last sigma means a step more.
    """
    del schedule  # a chosen one has no effect
    steps += settings.always_discard_next_to_last_sigma
    last = levels.count - 1
    places = range(0, levels.count, max(1, levels.count // steps))
    return [levels.sigma_at(min(place + 1, last)) for place in reversed(places)]


def _from_unit_noise(sigmas: Sequence[float], settings: SamplingSettings) -> Start:
    """Return the start of the variance-preserving samplers: x / sqrt(1 + sigma^2) is unit noise."""
    del settings
    return Start(tuple(sigmas), math.hypot(1, sigmas[0]))


def _from_level_before(sigmas: Sequence[float], counted: Count) -> Start:
    """Return the start of DDIM, which noises the picture to the level before its first one.

    The sampler takes that sample in its variance-preserving form for one of its own first level. Of 20 steps 0.75
    keeps 14 updates and 1 keeps 18.
    """
    first = len(sigmas) - counted.kept
    noised_to = sigmas[first - 1]
    scale = math.hypot(1, sigmas[first]) / math.hypot(1, noised_to)
    return Start(tuple(sigmas[first:]), noised_to, scale)


K_DIFFUSION = Kind(_scheduled, _from_noise, _from_picture)
# Who walks from the first level to the next-to-last needs two of them.
OF_A_RANGE = replace(K_DIFFUSION, least_kept=1)
TIMESTEPS = Kind(
    ddim_timesteps,
    _from_unit_noise,
    _from_level_before,
    hears_schedule=False,
    least_steps=2,
    least_kept=2,
    masks_before=True,
    floors_timesteps=True,
)
