"""Euler's method and what is built upon it: Euler, Euler a, Heun, Restart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step
from modules.sampling.schedules import karras_between

# Karras et al. 2022, algorithm 2: more churn than this per step would add more noise than there is.
_MOST_CHURN = math.sqrt(2) - 1
# Xu et al. 2023 for Stable Diffusion, as in A1111: from this level a restart goes back up to that one.
_RESTART_FROM, _RESTART_TO = 0.1, 2.0


def add_churn(
    x: Tensor, sigma: float, step_count: int, noise: NoiseSampler, settings: SamplingSettings
) -> tuple[Tensor, float]:
    """Return the sample with fresh noise, and the level it then has (Karras et al. 2022, algorithm 2).

    A draw is used up at every step, also outside of s_tmin and s_tmax, as in k-diffusion.
    """
    if not settings.s_churn:
        return x, sigma
    fresh = noise() * settings.s_noise
    if not settings.s_tmin <= sigma <= (settings.s_tmax or math.inf):
        return x, sigma
    raised = sigma * (1 + min(settings.s_churn / step_count, _MOST_CHURN))
    return x + fresh * math.sqrt(raised**2 - sigma**2), raised


def euler(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by Euler steps: Karras et al. 2022, algorithm 2 without its correction."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, raised = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        denoised = yield x, raised
        x = x + (x - denoised) * ((sigma_next - raised) / raised)
    return x


def euler_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by Euler steps that go below the next level and add fresh noise back up to it (k-diffusion)."""
    return (yield from ancestral_euler(x, sigmas, noise, settings.eta_ancestral))


def ancestral_euler(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, eta: float
) -> SamplerGenerator:
    """Walk by Euler steps that renew a share of the noise."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        down, up = ancestral_step(sigma, sigma_next, eta)
        x = x + (x - denoised) * ((down - sigma) / sigma)
        if up > 0:
            x = x + noise() * up
    return x


def heun(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by Heun's second-order steps: Karras et al. 2022, algorithm 2."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, raised = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        x = yield from heun_step(x, raised, sigma_next)
    return x


def heun_step(x: Tensor, sigma: float, sigma_next: float) -> SamplerGenerator:
    """Take one step with the mean of the slopes at both of its ends; to 0 with the first slope alone."""
    slope = (x - (yield x, sigma)) / sigma
    there = x + slope * (sigma_next - sigma)
    if sigma_next == 0:
        return there
    slope_there = (there - (yield there, sigma_next)) / sigma_next
    return x + (slope + slope_there) * ((sigma_next - sigma) / 2)


def restart(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by Heun's steps, go back up by adding noise and walk down again (Xu et al. 2023, arXiv 2306.14878)."""
    del settings
    reached = sigmas[0]
    for sigma, sigma_next in restart_steps(sigmas):
        if sigma > reached:
            x = x + noise() * math.sqrt(sigma**2 - reached**2)
        x = yield from heun_step(x, sigma, sigma_next)
        reached = sigma_next
    return x


def restart_steps(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """Return from which level to which each step of Restart leads.

    As in A1111: below 20 steps there is no restart; from 20 on one of 9 steps, from 36 on two of a quarter of the
    steps. The remaining steps then follow Karras et al.'s schedule, whatever was chosen.
    """
    count = len(sigmas) - 1
    if count < 20:
        return list(itertools.pairwise(sigmas))
    length, times = (count // 4, 2) if count >= 36 else (9, 1)
    walked = karras_between(count - length * times, sigmas[-2], sigmas[0])
    low, high = _nearest(walked, _RESTART_FROM), _nearest(walked, _RESTART_TO)
    steps = list(itertools.pairwise(walked))
    if high >= low:
        return steps
    again = karras_between(length + 1, walked[low], walked[high])[:-1]
    return [*steps[:low], *list(itertools.pairwise(again)) * times, *steps[low:]]


def _nearest(sigmas: Sequence[float], sigma: float) -> int:
    return min(range(len(sigmas)), key=lambda place: abs(sigmas[place] - sigma))


# Of the model's 1000 timesteps, LCMs are distilled on every twentieth.
LCM_TIMESTEP_STRIDE = 20


def lcm(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Jump to the prediction and noise it to the next level (Luo et al. 2023, algorithm 1).

    The boundary scalings of the paper differ from 0 and 1 by less than 1e-5 at every timestep of LCM; they are left
    out.
    """
    del settings
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = yield x, sigma
        if sigma_next > 0:
            x = x + noise() * sigma_next
    return x
