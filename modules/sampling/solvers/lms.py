"""The linear multistep method: LMS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor

_ORDER = 4
# Gauss and Legendre's three points integrate polynomials up to the fifth degree exactly.
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(3)


def lms(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by the slopes of up to four steps: Adams and Bashforth's method on uneven steps (k-diffusion)."""
    del noise, settings  # deterministic
    slopes: list[Tensor] = []  # the newest first
    for place, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        slopes = [(x - (yield x, sigma)) / sigma, *slopes][:_ORDER]
        known = [sigmas[place - back] for back in range(len(slopes))]
        for weight, slope in zip(
            multistep_coefficients(known, sigma, sigma_next), slopes, strict=True
        ):
            x = x + slope * weight
    return x


def multistep_coefficients(
    previous_sigmas: Sequence[float], sigma: float, sigma_next: float
) -> list[float]:
    """Return the integrals from sigma to sigma_next of the Lagrange polynomials through the known levels."""
    middle, half = (sigma + sigma_next) / 2, (sigma_next - sigma) / 2
    points = middle + half * _POINTS
    found: list[float] = []
    for mine in previous_sigmas:
        others = [other for other in previous_sigmas if other != mine]
        factors = [(points - other) / (mine - other) for other in others]
        found.append(float(half * (_WEIGHTS * np.prod([np.ones(3), *factors], axis=0)).sum()))
    return found
