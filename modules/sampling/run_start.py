"""Where a run begins: the levels it visits, and how the first sample is made.

Counts and levels are those of A1111 1.10.1, so that its infotexts give the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.schedules import Schedule
from modules.sampling.solvers.unipc import unipc_sigmas

# A full denoising strength is as good as this one, so that a step is always left of the schedule's.
_FULL = 0.999


@dataclass(frozen=True)
class RunStart:
    """A beginning: the first sample is (picture + unit noise * noised_to) * scale, without a picture noise alone.

    Args:
        sigmas: The levels to visit, falling.
        noise_sigma: The level whose noise the picture is given.
        scale: Brings the sample to the first level if the picture is noised to another one.
    """

    sigmas: tuple[float, ...]
    noise_sigma: float
    scale: float = 1.0


@dataclass(frozen=True)
class StepCut:
    """How a denoising strength cuts a run.

    Args:
        steps: Of the whole schedule.
        t_enc: How many of them are kept: A1111's t_enc.
    """

    steps: int
    t_enc: int


def cut_steps(steps: int, denoising_strength: float, fix_steps: bool = False) -> StepCut | None:
    """Return how many steps a run from a picture makes, or None when it makes none.

    Args:
        steps: As asked for.
        denoising_strength: 0 to 1.
        fix_steps: Whether all steps are made, by a schedule with more of them ("Do exactly the amount of steps").
    """
    share = min(denoising_strength, _FULL)
    if not fix_steps:
        return StepCut(steps, int(share * steps))
    return StepCut(int(steps / share), steps - 1) if share > 0 else None


@dataclass(frozen=True)
class SamplerFamily:
    """What a family of samplers has in common about its levels: A1111 has two of them.

    Args:
        sigmas: From the number of steps, the schedule, the model's levels and the options to the whole run's levels.
        from_noise: From these and the options to the start of a run from noise alone.
        from_image: From these and a count to the start of a run from a picture.
        uses_schedule: Whether a chosen schedule counts.
        min_steps: A run from noise with fewer would make no update.
        min_t_enc: A run from a picture that keeps fewer would make none.
        mask_before_denoising: Whether the kept part of a picture is put back before the network sees it rather than into
            what it predicts.
        floors_timesteps: Whether v is turned into noise by the level of the whole timestep below, as A1111 does;
            UniPC visits levels between them.
    """

    sigmas: Callable[[int, Schedule, ModelSigmas, SamplingSettings], list[float]]
    from_noise: Callable[[Sequence[float], SamplingSettings], RunStart]
    from_image: Callable[[Sequence[float], StepCut], RunStart]
    uses_schedule: bool = True
    min_steps: int = 1
    min_t_enc: int = 0
    mask_before_denoising: bool = False
    floors_timesteps: bool = False


def _scheduled(
    steps: int, schedule: Schedule, levels: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    assert schedule.sigmas is not None, "Automatic has been replaced by what it stands for"
    return schedule.sigmas(steps, levels, settings)


def _from_noise(sigmas: Sequence[float], settings: SamplingSettings) -> RunStart:
    first = sigmas[0]
    return RunStart(tuple(sigmas), math.hypot(1, first) if settings.sgm_noise_multiplier else first)


def _from_picture(sigmas: Sequence[float], counted: StepCut) -> RunStart:
    """Return the start of most samplers: of 20 steps 0.75 keeps 16 updates, 0.5 11, 1 all, and 0 one."""
    first = min(counted.steps - counted.t_enc - 1, len(sigmas) - 2)
    return RunStart(tuple(sigmas[first:]), sigmas[first])


def ddim_sigmas(
    steps: int, schedule: Schedule, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas of DDIM's evenly spaced timesteps, ending at timestep 1 rather than at 0.

    A1111 takes every (1000 // steps)-th timestep plus one (Song et al. 2021, section 4.2), so 20 steps visit 20 levels
    with 19 updates between them, and 30 steps visit 31. To leave out the next-to-last sigma means a step more.
    """
    del schedule  # a chosen one has no effect
    steps += settings.always_discard_next_to_last_sigma
    last = model_sigmas.count - 1
    places = range(0, model_sigmas.count, max(1, model_sigmas.count // steps))
    return [model_sigmas.sigma_at(min(place + 1, last)) for place in reversed(places)]


def _from_unit_noise(sigmas: Sequence[float], settings: SamplingSettings) -> RunStart:
    """Return the start of the variance-preserving samplers: x / sqrt(1 + sigma^2) is unit noise."""
    del settings
    return RunStart(tuple(sigmas), math.hypot(1, sigmas[0]))


def _from_level_before(sigmas: Sequence[float], counted: StepCut) -> RunStart:
    """Return the start of DDIM, which noises the picture to the level before its first one.

    The sampler takes that sample in its variance-preserving form for one of its own first level. Of 20 steps 0.75
    keeps 14 updates and 1 keeps 18.
    """
    first = len(sigmas) - counted.t_enc
    noised_to = sigmas[first - 1]
    scale = math.hypot(1, sigmas[first]) / math.hypot(1, noised_to)
    return RunStart(tuple(sigmas[first:]), noised_to, scale)


K_DIFFUSION = SamplerFamily(_scheduled, _from_noise, _from_picture)
# Who walks from the first level to the next-to-last needs two of them.
SIGMA_RANGE = replace(K_DIFFUSION, min_t_enc=1)
TIMESTEP = SamplerFamily(
    ddim_sigmas,
    _from_unit_noise,
    _from_level_before,
    uses_schedule=False,
    min_steps=2,
    min_t_enc=2,
    mask_before_denoising=True,
    floors_timesteps=True,
)


def dpm_solver_start(
    start: RunStart, from_noise: bool, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> RunStart:
    """Return what DPM fast and DPM adaptive walk: as many levels, of which the ends alone count.

    As in A1111, a whole run spans the model's range, whatever the schedule; a run from a picture goes from the
    schedule's first level to its next-to-last, since the last is 0.
    """
    del settings
    if from_noise:
        between = start.sigmas[1:-1]
        return replace(start, sigmas=(model_sigmas.sigma_max, *between, model_sigmas.sigma_min))
    return replace(start, sigmas=(*start.sigmas[:-1], start.sigmas[-2]))


def unipc_start(
    start: RunStart, from_noise: bool, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> RunStart:
    """Return what UniPC walks: as many steps as there are timesteps, from the last or the kept one to the first."""
    top = model_sigmas.count - 1 if from_noise else round(model_sigmas.index_at(start.sigmas[0]))
    sigmas = unipc_sigmas(len(start.sigmas), float(top), model_sigmas, settings)
    # A whole run's unit noise is the variance-preserving sample at whichever level is first.
    noised_to = (1 + sigmas[0] ** 2) ** 0.5 if from_noise else start.noise_sigma
    return replace(start, sigmas=tuple(sigmas), noise_sigma=noised_to)
