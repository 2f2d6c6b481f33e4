"""DPM-Solver++: the exponential integrator on the data prediction. DPM++ 2M, 2S a, SDE, 2M SDE, 3M SDE.

All of them step in h, the rise of the log signal-to-noise ratio: h = log(sigma / sigma_next).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step


def _toward(x: Tensor, denoised: Tensor, share: float) -> Tensor:
    """Return `x` with that share of its distance to the prediction left: the first-order step to share * sigma."""
    return x * share + denoised * (1 - share)


def dpmpp_2m(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver++(2M): Algorithm 2 of Lu et al. 2022 (arXiv 2211.01095) in sigma's terms."""
    del noise, settings  # deterministic
    previous: Tensor = None
    previous_step = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        step = math.log(sigma / sigma_next)
        target = denoised
        if previous is not None:
            target = denoised + (denoised - previous) * (step / (2 * previous_step))
        x = _toward(x, target, sigma_next / sigma)
        previous, previous_step = denoised, step
    return x


def dpmpp_2s_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver++(2S) (Lu et al. 2022, algorithm 1) to below the next level; noise leads back up to it."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        down, up = ancestral_step(sigma, sigma_next, settings.eta_ancestral)
        if down == 0:
            x = denoised
        else:
            middle = math.sqrt(sigma * down)
            there = yield _toward(x, denoised, middle / sigma), middle
            x = _toward(x, there, down / sigma)
        if up > 0:
            x = x + noise() * (settings.s_noise * up)
    return x


def dpmpp_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver++ as a stochastic differential equation, two evaluations a step (k-diffusion).

    Both halves of a step are ancestral, and the noise of a step is that of one Brownian motion.
    """
    eta, s_noise = settings.eta_ancestral, settings.s_noise
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        middle = math.sqrt(sigma * sigma_next)
        down, up = ancestral_step(sigma, middle, eta)
        there = _toward(x, denoised, down / sigma)
        if up > 0:
            there = there + noise.between(sigma, middle) * (s_noise * up)
        denoised = yield there, middle
        down, up = ancestral_step(sigma, sigma_next, eta)
        x = _toward(x, denoised, down / sigma)
        if up > 0:
            x = x + noise.between(sigma, sigma_next) * (s_noise * up)
    return x


def dpmpp_2m_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver++(2M) as a stochastic differential equation, solved at the midpoint (k-diffusion)."""
    return (yield from _two_step_sde(x, sigmas, noise, settings, _midpoint_weight))


def dpmpp_2m_sde_heun(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk as DPM++ 2M SDE does, with Heun's weight of the former prediction (k-diffusion)."""
    return (yield from _two_step_sde(x, sigmas, noise, settings, _heun_weight))


def _midpoint_weight(length: float) -> float:
    return -math.expm1(-length) / 2


def _heun_weight(length: float) -> float:
    return 1 + math.expm1(-length) / length


def _two_step_sde(
    x: Tensor,
    sigmas: Sequence[float],
    noise: NoiseSampler,
    settings: SamplingSettings,
    weight: Callable[[float], float],
) -> SamplerGenerator:
    eta = settings.eta_ancestral
    previous: Tensor = None
    previous_step = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        step = math.log(sigma / sigma_next)
        length = step * (1 + eta)
        x = _toward(x, denoised, math.exp(-length))
        if previous is not None:
            x = x + (denoised - previous) * (weight(length) * step / previous_step)
        x = _renewed(x, sigma, sigma_next, noise, settings)
        previous, previous_step = denoised, step
    return x


def dpmpp_3m_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver++(3M) as a stochastic differential equation (k-diffusion).

    The third order comes from the two former predictions: phi_2 and phi_3 of the exponential integrator weigh the
    first and second divided differences.
    """
    past: list[
        tuple[Tensor, float]
    ] = []  # predictions and the steps that followed them, the newest first
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        step = math.log(sigma / sigma_next)
        length = step * (1 + settings.eta_ancestral)
        x = _toward(x, denoised, math.exp(-length))
        phi_2 = 1 + math.expm1(-length) / length
        if past:
            recent = past[0][1] / step
            first = (denoised - past[0][0]) / recent
            if len(past) == 2:
                older = past[1][1] / step
                second = (first - (past[0][0] - past[1][0]) / older) / (recent + older)
                first = first + second * recent
                x = x - second * (phi_2 / length - 0.5)
            x = x + first * phi_2
        x = _renewed(x, sigma, sigma_next, noise, settings)
        past = [(denoised, step), *past][:2]
    return x


def _renewed(
    x: Tensor, sigma: float, sigma_next: float, noise: NoiseSampler, settings: SamplingSettings
) -> Tensor:
    """Return the sample with the noise that a step of the stochastic equation adds."""
    eta = settings.eta_ancestral
    if not eta:
        return x
    share = math.sqrt(-math.expm1(-2 * eta * math.log(sigma / sigma_next)))
    return x + noise.between(sigma, sigma_next) * (sigma_next * share * settings.s_noise)
