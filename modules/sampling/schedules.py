"""Schedules: which noise levels a run visits. Each is one function and one row of SCHEDULES."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modules.core.registry import Registry
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.beta_distribution import beta_quantile
from modules.sampling.model_sigmas import ModelSigmas

ScheduleFn = Callable[[int, ModelSigmas, SamplingSettings], list[float]]

_KARRAS_RHO = 7.0
_POLYEXPONENTIAL_RHO = 1.0
_OF_A_RANGE = ("sigma_min", "sigma_max", "use_old_karras_scheduler_sigmas")


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    Args:
        name: What the page shows and the infotext carries.
        sigmas: From the number of steps, the model's levels and the options to falling sigmas, one more than steps.
            None for "Automatic", which stands for the sampler's own schedule.
        aliases: Other names that find the row.
        default_rho: What a rho of 0 stands for; None where rho has no effect.
        uses_model_timesteps: Whether it counts in the model's timesteps and does not only span its range.
        options: The settings that it listens to.
    """

    name: str
    sigmas: ScheduleFn | None
    aliases: tuple[str, ...] = ()
    default_rho: float | None = None
    uses_model_timesteps: bool = False
    options: tuple[str, ...] = ()

    @property
    def api_name(self) -> str:
        """Return the name of A1111's HTTP API: "SGM Uniform" is "sgm_uniform"."""
        return self.name.lower().replace(" ", "_")


def sigma_bounds(model_sigmas: ModelSigmas, settings: SamplingSettings) -> tuple[float, float]:
    """Return the smallest and the largest sigma of the schedules that span a range."""
    low, high = model_sigmas.sigma_min, model_sigmas.sigma_max
    if settings.use_old_karras_scheduler_sigmas:
        low, high = 0.1, 10.0
    return settings.sigma_min or low, settings.sigma_max or high


def uniform(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of timesteps spread evenly from the last to the first, then 0."""
    del settings
    return [*(model_sigmas.sigma_at(t) for t in np.linspace(model_sigmas.count - 1, 0, steps)), 0.0]


def karras(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the schedule of Karras et al. 2022, equation 5, then 0."""
    return karras_between(steps, *sigma_bounds(model_sigmas, settings), settings.rho or _KARRAS_RHO)


def karras_between(
    steps: int, sigma_min: float, sigma_max: float, rho: float = _KARRAS_RHO
) -> list[float]:
    """Return Karras et al.'s schedule between two levels, then 0."""
    ramp = np.linspace(0, 1, steps)
    smallest, largest = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return [*((largest + ramp * (smallest - largest)) ** rho).tolist(), 0.0]


def exponential(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return sigmas whose logarithms are evenly spaced, then 0."""
    low, high = sigma_bounds(model_sigmas, settings)
    return [*np.exp(np.linspace(math.log(high), math.log(low), steps)).tolist(), 0.0]


def polyexponential(
    steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return sigmas whose logarithms are a polynomial of degree rho, then 0 (k-diffusion)."""
    low, high = sigma_bounds(model_sigmas, settings)
    ramp = np.linspace(1, 0, steps) ** (settings.rho or _POLYEXPONENTIAL_RHO)
    span = math.log(high) - math.log(low)
    return [*np.exp(ramp * span + math.log(low)).tolist(), 0.0]


def sgm_uniform(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of evenly spread timesteps, without the first one, then 0 (Stability's SDXL code)."""
    low, high = sigma_bounds(model_sigmas, settings)
    indices = np.linspace(model_sigmas.index_at(high), model_sigmas.index_at(low), steps + 1)[:-1]
    return [*(model_sigmas.sigma_at(t) for t in indices), 0.0]


def kl_optimal(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return evenly spaced arctangents of sigma (Sabour et al. 2024, equation 9), down to the smallest, not to 0."""
    low, high = sigma_bounds(model_sigmas, settings)
    share = np.arange(steps + 1) / steps
    return np.tan(share * math.atan(low) + (1 - share) * math.atan(high)).tolist()


# Sabour et al. 2024, "Align Your Steps", the published levels for SD 1.5 and ten steps.
_ALIGNED = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)


def align_your_steps(
    steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the levels of Sabour et al. 2024, between which log sigma is interpolated, then 0."""
    del model_sigmas, settings
    places = np.linspace(0, 1, len(_ALIGNED))
    logs = np.interp(np.linspace(0, 1, steps), places, np.log(_ALIGNED))
    return [*np.exp(logs).tolist(), 0.0]


def simple(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return every so-many-th trained level, counted from the last, then 0 (ComfyUI)."""
    del settings
    stride = model_sigmas.count / steps
    return [*(float(model_sigmas.sigmas[-(1 + int(i * stride))]) for i in range(steps)), 0.0]


def normal(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the sigmas of timesteps spread evenly over the range, then 0 (ComfyUI)."""
    low, high = sigma_bounds(model_sigmas, settings)
    indices = np.linspace(model_sigmas.index_at(high), model_sigmas.index_at(low), steps)
    return [*(model_sigmas.sigma_at(t) for t in indices), 0.0]


def ddim(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return every (1000 // steps)-th trained level from the second on, falling, then 0 (ComfyUI).

    Where steps do not divide 1000 there is a level more: 30 steps visit 31.
    """
    del settings
    places = range(1, model_sigmas.count, max(model_sigmas.count // steps, 1))
    return [*(float(model_sigmas.sigmas[place]) for place in reversed(places)), 0.0]


def beta(steps: int, model_sigmas: ModelSigmas, settings: SamplingSettings) -> list[float]:
    """Return the quantiles of a beta distribution over sigma, then 0 (Lee et al. 2024, arXiv 2407.12173)."""
    low, high = sigma_bounds(model_sigmas, settings)
    shares = (1 - np.linspace(0, 1, steps)).tolist()
    alpha, other = settings.beta_dist_alpha, settings.beta_dist_beta
    return [*(low + beta_quantile(share, alpha, other) * (high - low) for share in shares), 0.0]


SCHEDULES: Registry[Schedule] = Registry(
    "schedule type",
    [
        Schedule("Automatic", None),
        Schedule("Uniform", uniform, uses_model_timesteps=True),
        Schedule("Karras", karras, default_rho=_KARRAS_RHO, options=(*_OF_A_RANGE, "rho")),
        Schedule("Exponential", exponential, options=_OF_A_RANGE),
        Schedule(
            "Polyexponential",
            polyexponential,
            default_rho=_POLYEXPONENTIAL_RHO,
            options=(*_OF_A_RANGE, "rho"),
        ),
        Schedule(
            "SGM Uniform",
            sgm_uniform,
            aliases=("sgm_uniform", "SGMUniform"),
            uses_model_timesteps=True,
            options=_OF_A_RANGE,
        ),
        Schedule("KL Optimal", kl_optimal, aliases=("kl_optimal",), options=_OF_A_RANGE),
        Schedule("Align Your Steps", align_your_steps, aliases=("align_your_steps",)),
        Schedule("Simple", simple, uses_model_timesteps=True),
        Schedule("Normal", normal, uses_model_timesteps=True, options=_OF_A_RANGE),
        Schedule("DDIM", ddim, uses_model_timesteps=True),
        Schedule(
            "Beta",
            beta,
            uses_model_timesteps=True,
            options=(*_OF_A_RANGE, "beta_dist_alpha", "beta_dist_beta"),
        ),
    ],
)
