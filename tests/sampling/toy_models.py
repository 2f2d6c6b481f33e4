"""SD 1.x's sigmas and a closed-form denoiser for tests of samplers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import DEFAULTS, NoiseSampler, SamplerFn


def sd1_model_sigmas() -> ModelSigmas:
    """Return the sigmas of SD 1.x: 1000 betas, linear in their square root."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return ModelSigmas(np.cumprod(1 - betas))


class Gaussian:
    """Data from a normal distribution: the ideal denoiser and the exact solution are known.

    With p(x; sigma) = N(mean, spread^2 + sigma^2), the probability flow of Karras et al. 2022
    keeps (x - mean) / sqrt(spread^2 + sigma^2) constant.
    """

    def __init__(self, mean: float, spread: float) -> None:
        self.mean = mean
        self.spread = spread

    def denoised(self, x: Any, sigma: float) -> Any:
        c_skip = self.spread**2 / (self.spread**2 + sigma**2)
        return self.mean + c_skip * (x - self.mean)

    def exact(self, x: Any, sigma: float, sigma_next: float) -> Any:
        factor = math.sqrt(self.spread**2 + sigma_next**2) / math.sqrt(self.spread**2 + sigma**2)
        return self.mean + factor * (x - self.mean)


def no_noise() -> Any:
    raise AssertionError("a deterministic sampler draws no noise")


def run_sampler(
    run: SamplerFn,
    x: Any,
    sigmas: Sequence[float],
    denoiser: Callable[[Any, float], Any],
    noise: NoiseSampler = no_noise,
    settings: SamplingSettings = DEFAULTS,
) -> Any:
    """Return the final sample of a sampler that starts at `x`."""
    generator = run(x, sigmas, noise, settings)
    x, sigma = next(generator)
    try:
        while True:
            x, sigma = generator.send(denoiser(x, sigma))
    except StopIteration as end:
        return end.value
