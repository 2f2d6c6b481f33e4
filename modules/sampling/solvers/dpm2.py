"""Second-order steps through the midpoint in log sigma: DPM2, DPM2 a."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step
from modules.sampling.solvers.euler import add_churn


def dpm2(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver-2 steps (Lu et al. 2022a) with the churn of Karras et al. (2022), as k-diffusion combines them."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, sigma_hat = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        x = yield from _midpoint_step(x, sigma_hat, sigma_next)
    return x


def dpm2_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Ancestral sampling with DPM-Solver-2 steps (k-diffusion)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, settings.eta_ancestral)
        x = yield from _midpoint_step(x, sigma, sigma_down)
        if sigma_up > 0:
            x = x + noise() * (settings.s_noise * sigma_up)
    return x


def _midpoint_step(x: Tensor, sigma: float, sigma_next: float) -> SamplerGenerator:
    """Take one step along d at its midpoint in log sigma; a step to 0 is an Euler step."""
    d = (x - (yield x, sigma)) / sigma
    if sigma_next == 0:
        return x + d * (sigma_next - sigma)
    sigma_mid = math.sqrt(sigma * sigma_next)
    x_2 = x + d * (sigma_mid - sigma)
    d_2 = (x_2 - (yield x_2, sigma_mid)) / sigma_mid
    return x + d_2 * (sigma_next - sigma)
