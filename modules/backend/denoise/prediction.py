"""What a network predicts, and how x0 follows from it: one row of PREDICTIONS per prediction type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from modules.core.registry import Registry


@dataclass(frozen=True)
class Prediction:
    """One row of PREDICTIONS.

    Args:
        name: diffusers' name of the prediction type.
        input_scale: Returns the divisor that makes the sample of a sigma the network's input.
        to_denoised: Returns x0 from the sample, the network's output, the sample's sigma and the sigma of the timestep
            that the network got, which some samplers round down.
    """

    name: str
    input_scale: Callable[[float], float]
    to_denoised: Callable[[Tensor, Tensor, float, float], Tensor]
    aliases: tuple[str, ...] = ()


def _unit_variance(sigma: float) -> float:
    return math.sqrt(1 + sigma**2)


def _unscaled(sigma: float) -> float:
    del sigma
    return 1.0


def _from_epsilon(x: Tensor, output: Tensor, sigma: float, timestep_sigma: float) -> Tensor:
    """Return x0 from the predicted noise (Karras et al. 2022, table 1)."""
    del timestep_sigma
    return x - output * sigma


def _from_v(x: Tensor, output: Tensor, sigma: float, timestep_sigma: float) -> Tensor:
    """Return x0 from v (Salimans and Ho 2022, appendix D); v is converted to noise with the timestep's sigma."""
    to_noise = sigma / math.hypot(1, timestep_sigma)
    return x * (1 - to_noise * timestep_sigma / math.hypot(1, sigma)) - output * to_noise


def _from_flow(x: Tensor, output: Tensor, sigma: float, timestep_sigma: float) -> Tensor:
    """Return x0 from the velocity noise - x0 of x = (1 - sigma) x0 + sigma noise (Lipman et al. 2023)."""
    del timestep_sigma
    return x - output * sigma


PREDICTIONS: Registry[Prediction] = Registry(
    "prediction type",
    [
        Prediction("epsilon", _unit_variance, _from_epsilon),
        Prediction("v_prediction", _unit_variance, _from_v),
        Prediction("flow_prediction", _unscaled, _from_flow),
    ],
)
