"""Samplers: each one is a generator (`walk`), a few lines long, and one row of SAMPLERS."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modules.core.registry import Registry
from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import Start, begin, begin_ddim
from modules.sampling.schedules import ddim_timesteps
from modules.sampling.walk import Noise, SamplerFn, Steps, Tensor


@dataclass(frozen=True)
class Sampler:
    """One row of the table.

    Args:
        name: What the page shows and the infotext carries.
        run: The generator.
        aliases: Other names by which A1111's clients ask for it.
        automatic: The schedule that "Automatic" stands for.
        own_sigmas: The sampler's own levels; a chosen schedule then has no effect, as in A1111.
        starts_scaled: Whether the first `x` is unit noise divided by sqrt(alphas_cumprod) of the first
            level, as in the variance-preserving samplers, rather than noise times sigma.
        least_steps: Fewer steps than this would make no update at all.
        begin: From the levels of a whole run, its steps and a denoising strength to where a run begins that
            repaints a picture.
        calls_per_step: How many evaluations of the network count as one step where a prompt changes at a step.
        masks_before: Whether the kept part of a picture is put back before the network sees it (A1111's
            timestep samplers) rather than into what it predicts.
    """

    name: str
    run: SamplerFn
    aliases: tuple[str, ...] = ()
    automatic: str = "Uniform"
    own_sigmas: Callable[[int, NoiseLevels], list[float]] | None = None
    starts_scaled: bool = False
    least_steps: int = 1
    begin: Callable[[Sequence[float], int, float], Start] = begin
    calls_per_step: int = 1
    masks_before: bool = False

    def first_scale(self, sigma: float) -> float:
        """Return what unit noise is multiplied with to make the first `x`."""
        return math.sqrt(1 + sigma**2) if self.starts_scaled else sigma


def euler(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Walk by Euler steps: Algorithm 2 of Karras et al. 2022 without churn."""
    del noise  # deterministic
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        slope = (x - denoised) / sigma
        x = x + slope * (sigma_next - sigma)
    return x


def euler_ancestral(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Walk by Euler steps that go below the next level and add fresh noise back up to it (eta 1)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next)
        slope = (x - denoised) / sigma
        x = x + slope * (sigma_down - sigma)
        if sigma_next > 0:
            x = x + noise() * sigma_up
    return x


def dpmpp_2m(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Walk by DPM-Solver++(2M): Algorithm 2 of Lu et al. 2022 (arXiv 2211.01095) in sigma's terms."""
    del noise  # deterministic
    previous: Tensor = None
    previous_sigma = 0.0
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        step = math.log(sigma / sigma_next)  # h: the step in log signal-to-noise ratio
        direction = denoised
        if previous is not None:
            ratio = math.log(previous_sigma / sigma) / step
            direction = denoised + (denoised - previous) / (2 * ratio)
        x = x * (sigma_next / sigma) - direction * math.expm1(-step)
        previous, previous_sigma = denoised, sigma
    return x


def ddim(x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Walk by DDIM with eta 0 (Song et al. 2021, equation 13).

    In sigma's terms that is Euler's step. The run ends at the last level, not at 0, and its result is
    scaled back to the variance-preserving form, as A1111 hands it to the VAE.
    """
    x = yield from euler(x, sigmas, noise)
    return x / math.sqrt(1 + sigmas[-1] ** 2)


def ancestral_step(sigma: float, sigma_next: float) -> tuple[float, float]:
    """Return the level to step down to and the noise to add so that the sum lies at `sigma_next`.

    Karras et al. 2022, section 4: the share of noise that a full ancestral step (eta 1) renews.
    """
    up = math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
    up = min(sigma_next, up)
    return math.sqrt(sigma_next**2 - up**2), up


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    [
        Sampler("DPM++ 2M", dpmpp_2m, aliases=("k_dpmpp_2m",), automatic="Karras"),
        Sampler("Euler a", euler_ancestral, aliases=("k_euler_a", "k_euler_ancestral")),
        Sampler("Euler", euler, aliases=("k_euler",)),
        Sampler(
            "DDIM",
            ddim,
            own_sigmas=ddim_timesteps,
            starts_scaled=True,
            least_steps=2,
            begin=begin_ddim,
            masks_before=True,
        ),
    ],
)
