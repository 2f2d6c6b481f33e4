"""Start of a run: the sigmas it visits and how the initial sample is noised.

Counts and sigmas are those of A1111 1.10.1, so that its infotexts reproduce the same images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.schedules import Schedule
from modules.sampling.solvers.unipc import unipc_sigmas

# A denoising strength of 1 is clipped to this, as in A1111, so that t_enc stays below the step count.
_MAX_STRENGTH = 0.999


@dataclass(frozen=True)
class RunStart:
    """Start of a run: the initial sample is (init image + unit noise * noise_sigma) * scale, or noise alone in txt2img.

    Args:
        sigmas: The sigmas to visit, falling.
        noise_sigma: The sigma that the init image is noised to.
        scale: Brings the sample to the first sigma when noise_sigma is another one.
    """

    sigmas: tuple[float, ...]
    noise_sigma: float
    scale: float = 1.0


@dataclass(frozen=True)
class StepCut:
    """The part of a schedule that a denoising strength selects.

    Args:
        steps: Steps of the full schedule.
        t_enc: How many of its last steps are run, as A1111 counts them.
    """

    steps: int
    t_enc: int


def cut_steps(steps: int, denoising_strength: float, fix_steps: bool = False) -> StepCut | None:
    """Return the steps of a run from an init image, or None when there are none.

    Args:
        steps: Requested steps.
        denoising_strength: 0 to 1.
        fix_steps: Whether all steps are run, from a longer schedule ("Do exactly the amount of steps").
    """
    strength = min(denoising_strength, _MAX_STRENGTH)
    if not fix_steps:
        return StepCut(steps, int(strength * steps))
    return StepCut(int(steps / strength), steps - 1) if strength > 0 else None


@dataclass(frozen=True)
class SamplerFamily:
    """How a family of samplers derives its sigmas and its start; A1111 has two: k-diffusion and timestep samplers.

    Args:
        sigmas: Returns the sigmas of a full run, from step count, schedule, model sigmas and settings.
        from_noise: Returns the start of a run from noise, from these sigmas and the settings.
        from_image: Returns the start of a run from an init image, from these sigmas and the step cut.
        uses_schedule: Whether the schedule type has an effect.
        min_steps: A run from noise with fewer would make no update.
        min_t_enc: A run from an init image with a smaller t_enc would make no update.
        mask_before_denoising: Whether the unmasked part is restored in the network's input, not in its prediction.
        floors_timesteps: Whether v is converted to noise with the sigma of the timestep rounded down, as A1111 does;
            UniPC visits sigmas between timesteps.
        timestep_at: Returns the timestep that the network gets for a sigma between those of two timesteps, from the
            model sigmas: log sigma is interpolated by k-diffusion, log alpha by UniPC.
    """

    sigmas: Callable[[int, Schedule, ModelSigmas, SamplingSettings], list[float]]
    from_noise: Callable[[Sequence[float], SamplingSettings], RunStart]
    from_image: Callable[[Sequence[float], StepCut], RunStart]
    uses_schedule: bool = True
    min_steps: int = 1
    min_t_enc: int = 0
    mask_before_denoising: bool = False
    floors_timesteps: bool = False
    timestep_at: Callable[[ModelSigmas, float], float] = ModelSigmas.timestep_at


def _schedule_sigmas(
    steps: int, schedule: Schedule, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    assert schedule.sigmas is not None, "Automatic is resolved before"
    return schedule.sigmas(steps, model_sigmas, settings)


def _k_diffusion_from_noise(sigmas: Sequence[float], settings: SamplingSettings) -> RunStart:
    first = sigmas[0]
    return RunStart(tuple(sigmas), math.hypot(1, first) if settings.sgm_noise_multiplier else first)


def _k_diffusion_from_image(sigmas: Sequence[float], cut: StepCut) -> RunStart:
    """Return the start of the k-diffusion samplers: of 20 steps, strength 0.75 runs 16, 0.5 runs 11, 1 all, 0 one."""
    first = min(cut.steps - cut.t_enc - 1, len(sigmas) - 2)
    return RunStart(tuple(sigmas[first:]), sigmas[first])


def ddim_sigmas(
    steps: int, schedule: Schedule, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas of DDIM's evenly spaced timesteps, ending at timestep 1 rather than at 0.

    A1111 takes every (1000 // steps)-th timestep plus one (Song et al. 2021, section 4.2), so 20 steps visit 20
    timesteps with 19 updates between them, 30 steps visit 31. Discarding the next-to-last sigma means one more step.
    """
    del schedule  # has no effect
    steps += settings.always_discard_next_to_last_sigma
    last = model_sigmas.count - 1
    timesteps = range(0, model_sigmas.count, max(1, model_sigmas.count // steps))
    return [model_sigmas.sigma_at(min(t + 1, last)) for t in reversed(timesteps)]


def _ddim_from_noise(sigmas: Sequence[float], settings: SamplingSettings) -> RunStart:
    """Return the start of the timestep samplers: the variance-preserving x / sqrt(1 + sigma^2) is unit noise."""
    del settings
    return RunStart(tuple(sigmas), math.hypot(1, sigmas[0]))


def _ddim_from_image(sigmas: Sequence[float], cut: StepCut) -> RunStart:
    """Return the start of DDIM, which noises the init image to the sigma before its first one.

    The sampler uses that sample, in its variance-preserving form, at its own first sigma. Of 20 steps, strength 0.75
    runs 14 updates and 1 runs 18.
    """
    first = len(sigmas) - cut.t_enc
    noise_sigma = sigmas[first - 1]
    scale = math.hypot(1, sigmas[first]) / math.hypot(1, noise_sigma)
    return RunStart(tuple(sigmas[first:]), noise_sigma, scale)


K_DIFFUSION = SamplerFamily(_schedule_sigmas, _k_diffusion_from_noise, _k_diffusion_from_image)
# A run from the first sigma to the next-to-last needs two of them.
SIGMA_RANGE = replace(K_DIFFUSION, min_t_enc=1)
TIMESTEP = SamplerFamily(
    ddim_sigmas,
    _ddim_from_noise,
    _ddim_from_image,
    uses_schedule=False,
    min_steps=2,
    min_t_enc=2,
    mask_before_denoising=True,
    floors_timesteps=True,
    timestep_at=ModelSigmas.timestep_by_alpha,
)


def dpm_solver_start(
    start: RunStart, from_noise: bool, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> RunStart:
    """Return the start of DPM fast and DPM adaptive: as many sigmas, of which only the ends have an effect.

    As in A1111, a full run spans the model's range, whatever the schedule; a run from an init image goes from the
    schedule's first sigma to its next-to-last, since the last is 0.
    """
    del settings
    if from_noise:
        between = start.sigmas[1:-1]
        return replace(start, sigmas=(model_sigmas.sigma_max, *between, model_sigmas.sigma_min))
    return replace(start, sigmas=(*start.sigmas[:-1], start.sigmas[-2]))


def unipc_start(
    start: RunStart, from_noise: bool, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> RunStart:
    """Return the start of UniPC: a step per sigma, from the model's last timestep or the start's first to 0."""
    first_timestep = (
        model_sigmas.count - 1 if from_noise else round(model_sigmas.index_at(start.sigmas[0]))
    )
    sigmas = unipc_sigmas(len(start.sigmas), float(first_timestep), model_sigmas, settings)
    # The unit noise of a full run is the variance-preserving sample at any first sigma.
    noise_sigma = (1 + sigmas[0] ** 2) ** 0.5 if from_noise else start.noise_sigma
    return replace(start, sigmas=tuple(sigmas), noise_sigma=noise_sigma)
