"""Noise schedules: the sigmas of a run. Each is one function and one row of SCHEDULES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from modules.core.registry import Registry
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.arithmetic import FLOAT64, Arithmetic, Array
from modules.sampling.beta_distribution import beta_quantile
from modules.sampling.model_sigmas import ModelSigmas

ScheduleFn = Callable[[int, ModelSigmas, SamplingSettings], list[float]]

_KARRAS_RHO = 7.0
_POLYEXPONENTIAL_RHO = 1.0
_RANGE_OPTIONS = ("sigma_min", "sigma_max", "use_old_karras_scheduler_sigmas")


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    Args:
        name: As the page and the infotext show it.
        sigmas: Returns falling sigmas, one more than steps, from step count, model sigmas and settings. None for
            "Automatic", which resolves to the sampler's default schedule.
        aliases: Other accepted names.
        default_rho: Used for a rho of 0; None where rho has no effect.
        uses_model_timesteps: Whether it depends on the model's timesteps, not only on the range of its sigmas.
        options: The settings that affect it.
        sdxl_sigmas: Replaces `sigmas` for SDXL; None where they are the same.
    """

    name: str
    sigmas: ScheduleFn | None
    aliases: tuple[str, ...] = ()
    default_rho: float | None = None
    uses_model_timesteps: bool = False
    options: tuple[str, ...] = ()
    sdxl_sigmas: ScheduleFn | None = None

    def for_sdxl(self) -> Schedule:
        """Return the schedule as it is for SDXL."""
        return self if self.sdxl_sigmas is None else replace(self, sigmas=self.sdxl_sigmas)

    @property
    def api_name(self) -> str:
        """Return the name of A1111's HTTP API: "SGM Uniform" is "sgm_uniform"."""
        return self.name.lower().replace(" ", "_")


def sigma_bounds(model_sigmas: ModelSigmas, settings: SamplingSettings) -> tuple[float, float]:
    """Return the smallest and largest sigma for the schedules that span a range."""
    sigma_min, sigma_max = model_sigmas.sigma_min, model_sigmas.sigma_max
    if settings.use_old_karras_scheduler_sigmas:
        sigma_min, sigma_max = 0.1, 10.0
    return settings.sigma_min or sigma_min, settings.sigma_max or sigma_max


def uniform(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of evenly spaced timesteps from the last to the first, then 0."""
    del settings
    indices = model_sigmas.arithmetic.linspace(model_sigmas.count - 1, 0, steps)
    return _end_at_zero(model_sigmas.sigmas_at(indices))


def karras(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the schedule of Karras et al. 2022, equation 5, then 0."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    rho = settings.rho or _KARRAS_RHO
    return karras_between(steps, sigma_min, sigma_max, rho, model_sigmas.arithmetic)


def karras_between(
    steps: int,
    sigma_min: float,
    sigma_max: float,
    rho: float = _KARRAS_RHO,
    arithmetic: Arithmetic = FLOAT64,
) -> list[float]:
    """Return Karras et al.'s schedule between two sigmas, then 0."""
    ramp = arithmetic.linspace(0, 1, steps)
    min_inv_rho, max_inv_rho = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    inv_rho = max_inv_rho + ramp * (min_inv_rho - max_inv_rho)
    return _end_at_zero(arithmetic.power(inv_rho, rho))


def exponential(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return sigmas whose logarithms are evenly spaced, then 0."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    arithmetic = model_sigmas.arithmetic
    log_sigmas = arithmetic.linspace(math.log(sigma_max), math.log(sigma_min), steps)
    return _end_at_zero(arithmetic.exp(log_sigmas))


def polyexponential(
    steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return sigmas whose logarithms are a polynomial of degree rho, then 0 (k-diffusion)."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    arithmetic, rho = model_sigmas.arithmetic, settings.rho or _POLYEXPONENTIAL_RHO
    ramp = arithmetic.power(arithmetic.linspace(1, 0, steps), rho)
    span = math.log(sigma_max) - math.log(sigma_min)
    return _end_at_zero(arithmetic.exp(ramp * span + math.log(sigma_min)))


def sgm_uniform(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of evenly spaced timesteps, without the first one, then 0 (Stability's SDXL code)."""
    indices = _indices(steps + 1, model_sigmas, settings)[:-1]
    return _end_at_zero(model_sigmas.sigmas_at(indices))


def kl_optimal(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return evenly spaced arctangents of sigma (Sabour et al. 2024, equation 9), down to the smallest, not to 0."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    arithmetic = model_sigmas.arithmetic
    t = arithmetic.array(range(steps + 1)) / steps
    end, start = arithmetic.arctan(arithmetic.array([sigma_min, sigma_max]))
    return arithmetic.tan(t * end + (1 - t) * start).tolist()


# Sabour et al. 2024, "Align Your Steps": the published sigmas for ten steps of SD 1.5 and of SDXL.
_AYS_SIGMAS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
_AYS_SDXL_SIGMAS = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)


def align_your_steps(
    steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas of Sabour et al. 2024, with log sigma interpolated between them, then 0."""
    del settings
    return _interpolate_logs(_AYS_SIGMAS, steps, model_sigmas)


def align_your_steps_sdxl(
    steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas of Sabour et al. 2024 for SDXL, interpolated likewise."""
    del settings
    return _interpolate_logs(_AYS_SDXL_SIGMAS, steps, model_sigmas)


def _interpolate_logs(
    published: tuple[float, ...], steps: int, model_sigmas: ModelSigmas
) -> list[float]:
    positions = np.linspace(0, 1, len(published))
    log_sigmas = np.interp(np.linspace(0, 1, steps), positions, np.log(published))
    return _end_at_zero(model_sigmas.arithmetic.array(np.exp(log_sigmas)))


def simple(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return every (1000 / steps)-th trained sigma, counted back from the last, then 0 (ComfyUI)."""
    del settings
    stride = model_sigmas.count / steps
    return [*(float(model_sigmas.sigmas[-(1 + int(i * stride))]) for i in range(steps)), 0.0]


def normal(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of timesteps evenly spaced over the range, then 0 (ComfyUI)."""
    return _end_at_zero(model_sigmas.sigmas_at(_indices(steps, model_sigmas, settings)))


def ddim(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return every (1000 // steps)-th trained sigma from the second on, falling, then 0 (ComfyUI).

    Where steps do not divide 1000 there are more sigmas: 30 steps visit 31.
    """
    del settings
    timesteps = range(1, model_sigmas.count, max(model_sigmas.count // steps, 1))
    return [*(float(model_sigmas.sigmas[t]) for t in reversed(timesteps)), 0.0]


def beta(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return quantiles of a beta distribution over the range, then 0 (Lee et al. 2024, arXiv 2407.12173)."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    probabilities = (1 - np.linspace(0, 1, steps)).tolist()
    quantiles = [
        beta_quantile(p, settings.beta_dist_alpha, settings.beta_dist_beta) for p in probabilities
    ]
    sigmas = [sigma_min + q * (sigma_max - sigma_min) for q in quantiles]
    return _end_at_zero(model_sigmas.arithmetic.array(sigmas))


def _indices(count: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> Array:
    """Return evenly spaced indices of the model's sigmas, from that of the largest sigma to that of the smallest."""
    sigma_min, sigma_max = sigma_bounds(model_sigmas, settings)
    start, end = model_sigmas.index_at(sigma_max), model_sigmas.index_at(sigma_min)
    return model_sigmas.arithmetic.linspace(start, end, count)


def _end_at_zero(sigmas: Array) -> list[float]:
    return [*sigmas.tolist(), 0.0]


SCHEDULES: Registry[Schedule] = Registry(
    "schedule type",
    [
        Schedule("Automatic", None),
        Schedule("Uniform", uniform, uses_model_timesteps=True),
        Schedule("Karras", karras, default_rho=_KARRAS_RHO, options=(*_RANGE_OPTIONS, "rho")),
        Schedule("Exponential", exponential, options=_RANGE_OPTIONS),
        Schedule(
            "Polyexponential",
            polyexponential,
            default_rho=_POLYEXPONENTIAL_RHO,
            options=(*_RANGE_OPTIONS, "rho"),
        ),
        Schedule(
            "SGM Uniform",
            sgm_uniform,
            aliases=("sgm_uniform", "SGMUniform"),
            uses_model_timesteps=True,
            options=_RANGE_OPTIONS,
        ),
        Schedule("KL Optimal", kl_optimal, aliases=("kl_optimal",), options=_RANGE_OPTIONS),
        Schedule(
            "Align Your Steps",
            align_your_steps,
            aliases=("align_your_steps",),
            sdxl_sigmas=align_your_steps_sdxl,
        ),
        Schedule("Simple", simple, uses_model_timesteps=True),
        Schedule("Normal", normal, uses_model_timesteps=True, options=_RANGE_OPTIONS),
        Schedule("DDIM", ddim, uses_model_timesteps=True),
        Schedule(
            "Beta",
            beta,
            uses_model_timesteps=True,
            options=(*_RANGE_OPTIONS, "beta_dist_alpha", "beta_dist_beta"),
        ),
    ],
)
