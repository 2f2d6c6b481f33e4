"""Euler's method and the samplers built on it: Euler, Euler a, Heun, Restart, LCM."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step
from modules.sampling.schedules import karras_between

# Karras et al. 2022, algorithm 2: more churn than this per step would add more noise than there is.
_MAX_GAMMA = math.sqrt(2) - 1
# Xu et al. 2023 for Stable Diffusion, as in A1111: the sigmas between which a restart segment lies.
_RESTART_SIGMA_MIN, _RESTART_SIGMA_MAX = 0.1, 2.0


def add_churn(
    x: Tensor, sigma: float, step_count: int, noise: NoiseSampler, settings: SamplingSettings
) -> tuple[Tensor, float]:
    """Return the sample with fresh noise and its raised sigma_hat (Karras et al. 2022, algorithm 2).

    Noise is drawn at every step, also outside s_tmin and s_tmax, as in k-diffusion.
    """
    if not settings.s_churn:
        return x, sigma
    eps = noise() * settings.s_noise
    if not settings.s_tmin <= sigma <= (settings.s_tmax or math.inf):
        return x, sigma
    gamma = min(settings.s_churn / step_count, _MAX_GAMMA)
    sigma_hat = sigma * (1 + gamma)
    return x + eps * math.sqrt(sigma_hat**2 - sigma**2), sigma_hat


def euler_step(x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return the sample at sigma_next: a step along d = dx/dsigma at sigma.

    In this order it rounds as k-diffusion's: from the sigma of 4500 that zero terminal SNR begins with, a step takes
    away all but a thousandth of x, and leaves the rounding errors.
    """
    return x + (x - denoised) / sigma * (sigma_next - sigma)


def euler(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Euler steps. Algorithm 2 of Karras et al. (2022) without its second-order correction."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, sigma_hat = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        denoised = yield x, sigma_hat
        x = euler_step(x, denoised, sigma_hat, sigma_next)
    return x


def euler_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Ancestral sampling with Euler steps (k-diffusion): each goes down to sigma_down, then adds noise of sigma_up."""
    return (yield from euler_ancestral_with_eta(x, sigmas, noise, settings.eta_ancestral))


def euler_ancestral_with_eta(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, eta: float
) -> SamplerGenerator:
    """Ancestral sampling with Euler steps; eta scales the added noise."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = euler_step(x, denoised, sigma, sigma_down)
        if sigma_up > 0:
            x = x + noise() * sigma_up
    return x


def heun(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Heun's second-order steps. Algorithm 2 of Karras et al. (2022)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, sigma_hat = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        x = yield from heun_step(x, sigma_hat, sigma_next)
    return x


def heun_step(x: Tensor, sigma: float, sigma_next: float) -> SamplerGenerator:
    """Take one step along the mean of d = dx/dsigma at both ends; a step to 0 is an Euler step."""
    d = (x - (yield x, sigma)) / sigma
    x_2 = x + d * (sigma_next - sigma)
    if sigma_next == 0:
        return x_2
    d_2 = (x_2 - (yield x_2, sigma_next)) / sigma_next
    return x + (d + d_2) * ((sigma_next - sigma) / 2)


def restart(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Restart sampling (Xu et al. 2023, arXiv 2306.14878): Heun steps; noise is added again before each restart."""
    del settings
    last_sigma = math.inf  # not sigmas[0]: by rounding, the first of the steps may begin above it
    for sigma, sigma_next in restart_steps(sigmas):
        if sigma > last_sigma:
            x = x + noise() * math.sqrt(sigma**2 - last_sigma**2)
        x = yield from heun_step(x, sigma, sigma_next)
        last_sigma = sigma_next
    return x


def restart_steps(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """Return the steps of Restart as pairs (sigma, sigma_next).

    As in A1111: below 20 steps there is no restart; from 20 on one of 9 steps, from 36 on two of a quarter of the
    steps. The remaining steps then follow Karras et al.'s schedule, whatever was chosen.
    """
    count = len(sigmas) - 1
    if count < 20:
        return list(itertools.pairwise(sigmas))
    restart_length, restart_count = (count // 4, 2) if count >= 36 else (9, 1)
    main_sigmas = karras_between(count - restart_length * restart_count, sigmas[-2], sigmas[0])
    min_index = _nearest_index(main_sigmas, _RESTART_SIGMA_MIN)
    max_index = _nearest_index(main_sigmas, _RESTART_SIGMA_MAX)
    steps = list(itertools.pairwise(main_sigmas))
    if max_index >= min_index:
        return steps
    restart_sigmas = karras_between(
        restart_length + 1, main_sigmas[min_index], main_sigmas[max_index]
    )[:-1]
    restarts = list(itertools.pairwise(restart_sigmas)) * restart_count
    return [*steps[:min_index], *restarts, *steps[min_index:]]


def _nearest_index(sigmas: Sequence[float], sigma: float) -> int:
    return min(range(len(sigmas)), key=lambda index: abs(sigmas[index] - sigma))


# Of the model's 1000 timesteps, LCMs are distilled on every twentieth.
LCM_TIMESTEP_STRIDE = 20


def lcm(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Multistep latent consistency sampling. Algorithm 1 of Luo et al. (2023): x0 is noised to the next sigma.

    The boundary scalings of the paper differ from 0 and 1 by less than 1e-5 at every timestep of LCM; they are left
    out.
    """
    del settings
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = yield x, sigma
        if sigma_next > 0:
            x = x + noise() * sigma_next
    return x
