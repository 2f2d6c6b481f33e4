"""The linear multistep method: LMS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor

_ORDER = 4
# Three-point Gauss-Legendre quadrature integrates polynomials up to the fifth degree exactly.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)


def lms(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Linear multistep steps over up to four derivatives: Adams-Bashforth on uneven steps (k-diffusion)."""
    del noise, settings  # deterministic
    ds: list[Tensor] = []  # the newest first
    for index, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        ds = [(x - (yield x, sigma)) / sigma, *ds][:_ORDER]
        previous_sigmas = [sigmas[index - back] for back in range(len(ds))]
        coefficients = multistep_coefficients(previous_sigmas, sigma, sigma_next)
        for coefficient, d in zip(coefficients, ds, strict=True):
            x = x + d * coefficient
    return x


def multistep_coefficients(
    previous_sigmas: Sequence[float], sigma: float, sigma_next: float
) -> list[float]:
    """Return the integrals from sigma to sigma_next of the Lagrange polynomials through `previous_sigmas`."""
    middle, half = (sigma + sigma_next) / 2, (sigma_next - sigma) / 2
    points = middle + half * _NODES
    coefficients: list[float] = []
    for node in previous_sigmas:
        others = [other for other in previous_sigmas if other != node]
        factors = [(points - other) / (node - other) for other in others]
        integral = half * (_WEIGHTS * np.prod([np.ones(3), *factors], axis=0)).sum()
        coefficients.append(float(integral))
    return coefficients
