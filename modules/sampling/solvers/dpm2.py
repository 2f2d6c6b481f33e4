"""Second-order steps through the middle of each step in log sigma: DPM2, DPM2 a."""

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
    """Walk by DPM-Solver-2's steps with churn (Lu et al. 2022a and Karras et al. 2022, as k-diffusion joins them)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x, raised = add_churn(x, sigma, len(sigmas) - 1, noise, settings)
        x = yield from _midpoint_step(x, raised, sigma_next)
    return x


def dpm2_ancestral(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver-2's steps to below the next level and add fresh noise back up to it (k-diffusion)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        down, up = ancestral_step(sigma, sigma_next, settings.eta_ancestral)
        x = yield from _midpoint_step(x, sigma, down)
        if up > 0:
            x = x + noise() * (settings.s_noise * up)
    return x


def _midpoint_step(x: Tensor, sigma: float, sigma_next: float) -> SamplerGenerator:
    """Take one step with the slope at its middle in log sigma; to 0 with the slope at its beginning."""
    slope = (x - (yield x, sigma)) / sigma
    if sigma_next == 0:
        return x + slope * (sigma_next - sigma)
    middle = math.sqrt(sigma * sigma_next)
    there = x + slope * (middle - sigma)
    slope_there = (there - (yield there, middle)) / middle
    return x + slope_there * (sigma_next - sigma)
