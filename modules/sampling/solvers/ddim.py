"""The samplers that count in timesteps: DDIM, DDIM CFG++, PLMS.

Their papers walk the variance-preserving form of the sample, x / sqrt(1 + sigma^2). In sigma's terms their updates are
Euler's; only the result is scaled, since the run ends at timestep 1, not at 0, and A1111 hands it to the VAE as it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step
from modules.sampling.solvers.euler import ancestral_euler

# A1111's CFG scale divided by this is CFG++'s, which goes from 0 to 1.
CFGPP_DIVISOR = 12.5


def ddim(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DDIM (Song et al. 2021, equations 12 and 16)."""
    x = yield from ancestral_euler(x, sigmas, noise, settings.eta_ddim)
    return to_variance_preserving(x, sigmas[-1])


def ddim_cfgpp(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DDIM with CFG++ (Chung et al. 2024, algorithm 2): the unguided noise leads on from the guided prediction.

    It is sent the pair of both predictions, guided and of the negative prompt alone.
    """
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised, unguided = yield x, sigma
        down, up = ancestral_step(sigma, sigma_next, settings.eta_ddim)
        x = denoised + (x - unguided) * (down / sigma)
        if up > 0:
            x = x + noise() * up
    return to_variance_preserving(x, sigmas[-1])


def plms(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by pseudo linear multistep (Liu et al. 2022, equation 12), begun by one step of Euler's improved method."""
    del noise, settings  # deterministic
    past: list[Tensor] = []  # predicted noise, the newest first
    for sigma, sigma_next in itertools.pairwise(sigmas):
        epsilon = (x - (yield x, sigma)) / sigma
        if past:
            mean = _adams_bashforth([epsilon, *past])
        else:
            there = x + epsilon * (sigma_next - sigma)
            mean = (epsilon + (there - (yield there, sigma_next)) / sigma_next) / 2
        x = x + mean * (sigma_next - sigma)
        past = [epsilon, *past][:3]
    return to_variance_preserving(x, sigmas[-1])


# Adams and Bashforth's weights of the newest to the oldest slope, by the number of slopes.
_WEIGHTS = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def _adams_bashforth(slopes: Sequence[Tensor]) -> Tensor:
    return sum(slope * weight for slope, weight in zip(slopes, _WEIGHTS[len(slopes)], strict=True))


def to_variance_preserving(x: Tensor, sigma: float) -> Tensor:
    """Return the sample in its variance-preserving form."""
    return x / math.sqrt(1 + sigma**2)
