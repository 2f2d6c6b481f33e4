"""The samplers that step over timesteps: DDIM, DDIM CFG++, PLMS.

Their papers use the variance-preserving sample, x / sqrt(1 + sigma^2). In terms of sigma their updates are Euler's;
only the result is scaled, since the run ends at timestep 1, not at 0, and A1111 passes it to the VAE unchanged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step
from modules.sampling.solvers.euler import euler_ancestral_with_eta

# A1111's CFG scale divided by this is CFG++'s, which goes from 0 to 1.
CFGPP_DIVISOR = 12.5


def ddim(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DDIM. Equations 12 and 16 of Song et al. (2021)."""
    x = yield from euler_ancestral_with_eta(x, sigmas, noise, settings.eta_ddim)
    return to_variance_preserving(x, sigmas[-1])


def ddim_cfgpp(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DDIM with CFG++. Algorithm 2 of Chung et al. (2024): the guided x0 is renoised with the uncond noise prediction.

    The generator is sent the pair (guided prediction, uncond prediction).
    """
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised, uncond_denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, settings.eta_ddim)
        x = denoised + (x - uncond_denoised) * (sigma_down / sigma)
        if sigma_up > 0:
            x = x + noise() * sigma_up
    return to_variance_preserving(x, sigmas[-1])


def plms(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Pseudo linear multistep. Equation 12 of Liu et al. (2022), after a first step of Euler's improved method."""
    del noise, settings  # deterministic
    old_eps: list[Tensor] = []  # noise predictions, the newest first
    for sigma, sigma_next in itertools.pairwise(sigmas):
        eps = (x - (yield x, sigma)) / sigma
        if old_eps:
            eps_prime = _adams_bashforth([eps, *old_eps])
        else:
            x_next = x + eps * (sigma_next - sigma)
            eps_prime = (eps + (x_next - (yield x_next, sigma_next)) / sigma_next) / 2
        x = x + eps_prime * (sigma_next - sigma)
        old_eps = [eps, *old_eps][:3]
    return to_variance_preserving(x, sigmas[-1])


# Adams-Bashforth coefficients, the newest noise prediction first, by their number.
_COEFFICIENTS = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def _adams_bashforth(eps: Sequence[Tensor]) -> Tensor:
    return sum(e * coefficient for e, coefficient in zip(eps, _COEFFICIENTS[len(eps)], strict=True))


def to_variance_preserving(x: Tensor, sigma: float) -> Tensor:
    """Return the sample in its variance-preserving form."""
    return x / math.sqrt(1 + sigma**2)
