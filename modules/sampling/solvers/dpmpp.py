"""DPM-Solver++: the exponential integrator on the data prediction. DPM++ 2M, 2S a, SDE, 2M SDE, 3M SDE.

All of them step in h, the increase of the log signal-to-noise ratio: h = log(sigma / sigma_next).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.arithmetic import Arithmetic
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step


def _first_order_step(x: Tensor, denoised: Tensor, sigma_ratio: float) -> Tensor:
    """Return the first-order step of `x` toward the prediction; sigma_ratio is sigma_next / sigma = exp(-h)."""
    return x * sigma_ratio + denoised * (1 - sigma_ratio)


def dpmpp_2m(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver++(2M). Algorithm 2 of Lu et al. (2022, arXiv 2211.01095), in terms of sigma."""
    del noise, settings  # deterministic
    old_denoised: Tensor = None
    h_last = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)
        denoised_d = denoised
        if old_denoised is not None:
            denoised_d = denoised + (denoised - old_denoised) * (h / (2 * h_last))
        x = _first_order_step(x, denoised_d, sigma_next / sigma)
        old_denoised, h_last = denoised, h
    return x


def dpmpp_2s_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Ancestral sampling with DPM-Solver++(2S) steps. Algorithm 1 of Lu et al. (2022)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, settings.eta_ancestral)
        if sigma_down == 0:
            x = denoised
        else:
            sigma_mid = math.sqrt(sigma * sigma_down)
            x_2 = _first_order_step(x, denoised, sigma_mid / sigma)
            denoised_2 = yield x_2, sigma_mid
            x = _first_order_step(x, denoised_2, sigma_down / sigma)
        if sigma_up > 0:
            x = x + noise() * (settings.s_noise * sigma_up)
    return x


def dpmpp_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver++ (stochastic), two evaluations per step (k-diffusion).

    Both halves of a step are ancestral, and the noise of a step is that of one Brownian motion.
    """
    eta, s_noise = settings.eta_ancestral, settings.s_noise
    points = _log_midpoints(sigmas, noise.arithmetic)
    for index in range(len(sigmas) - 1):
        denoised = yield x, sigmas[index]
        if sigmas[index + 1] == 0:
            return denoised
        sigma, sigma_mid, sigma_next = points[index]
        sigma_down, sigma_up = ancestral_step(sigma, sigma_mid, eta)
        x_2 = _first_order_step(x, denoised, sigma_down / sigma)
        if sigma_up > 0:
            x_2 = x_2 + noise.between(sigma, sigma_mid) * (s_noise * sigma_up)
        denoised_2 = yield x_2, sigma_mid
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = _first_order_step(x, denoised_2, sigma_down / sigma)
        if sigma_up > 0:
            x = x + noise.between(sigma, sigma_next) * (s_noise * sigma_up)
    return x


def _log_midpoints(
    sigmas: Sequence[float], arithmetic: Arithmetic
) -> list[tuple[float, float, float]]:
    """Return both ends of each step, with the midpoint in log sigma between them, but not of a step to 0.

    As in k-diffusion the ends, too, are exponentials of their logarithms: the last digits are those at which the
    Brownian motion is looked up.
    """
    ts = -arithmetic.log(arithmetic.array([sigma for sigma in sigmas if sigma > 0]))
    middles = arithmetic.exp(-(ts[:-1] + (ts[1:] - ts[:-1]) / 2)).tolist()
    ends = arithmetic.exp(-ts).tolist()
    return list(zip(ends[:-1], middles, ends[1:], strict=True))


def dpmpp_2m_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver++(2M) SDE with the midpoint solver (k-diffusion)."""
    return (yield from _2m_sde(x, sigmas, noise, settings, _midpoint_weight))


def dpmpp_2m_sde_heun(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver++(2M) SDE with the Heun solver (k-diffusion)."""
    return (yield from _2m_sde(x, sigmas, noise, settings, _heun_weight))


def _midpoint_weight(eta_h: float) -> float:
    return -math.expm1(-eta_h) / 2


def _heun_weight(eta_h: float) -> float:
    return 1 + math.expm1(-eta_h) / eta_h


def _2m_sde(
    x: Tensor,
    sigmas: Sequence[float],
    noise: NoiseSampler,
    settings: SamplingSettings,
    second_order_weight: Callable[[float], float],
) -> SamplerGenerator:
    eta = settings.eta_ancestral
    old_denoised: Tensor = None
    h_last = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)
        eta_h = h * (1 + eta)
        x = _first_order_step(x, denoised, math.exp(-eta_h))
        if old_denoised is not None:
            x = x + (denoised - old_denoised) * (second_order_weight(eta_h) * h / h_last)
        x = _add_sde_noise(x, sigma, sigma_next, noise, settings)
        old_denoised, h_last = denoised, h
    return x


def dpmpp_3m_sde(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver++(3M) SDE (k-diffusion).

    The third order comes from the two previous predictions: phi_2 and phi_3 of the exponential integrator weight the
    first and second divided differences.
    """
    history: list[tuple[Tensor, float]] = []  # (denoised, h of the step after it), the newest first
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = math.log(sigma / sigma_next)
        eta_h = h * (1 + settings.eta_ancestral)
        x = _first_order_step(x, denoised, math.exp(-eta_h))
        phi_2 = 1 + math.expm1(-eta_h) / eta_h
        if history:
            denoised_1, h_1 = history[0]
            r0 = h_1 / h
            d1 = (denoised - denoised_1) / r0
            if len(history) == 2:
                denoised_2, h_2 = history[1]
                r1 = h_2 / h
                d2 = (d1 - (denoised_1 - denoised_2) / r1) / (r0 + r1)
                d1 = d1 + d2 * r0
                phi_3 = phi_2 / eta_h - 0.5
                x = x - d2 * phi_3
            x = x + d1 * phi_2
        x = _add_sde_noise(x, sigma, sigma_next, noise, settings)
        history = [(denoised, h), *history][:2]
    return x


def _add_sde_noise(
    x: Tensor, sigma: float, sigma_next: float, noise: NoiseSampler, settings: SamplingSettings
) -> Tensor:
    """Return the sample with the noise that a step of the SDE adds."""
    eta = settings.eta_ancestral
    if not eta:
        return x
    h = math.log(sigma / sigma_next)
    renewed_share = math.sqrt(-math.expm1(-2 * eta * h))
    return x + noise.between(sigma, sigma_next) * (sigma_next * renewed_share * settings.s_noise)
