"""The noise levels a model was trained on, and the way from timestep to sigma and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class NoiseLevels:
    """Sigma of every training timestep: sqrt((1 - alphas_cumprod) / alphas_cumprod), Karras et al. 2022.

    Args:
        alphas_cumprod: The model's cumulative alphas, [timesteps], falling from near 1 to near 0.
    """

    def __init__(self, alphas_cumprod: Sequence[float] | NDArray[np.float64]) -> None:
        alphas = np.asarray(alphas_cumprod, dtype=np.float64)
        self.sigmas: NDArray[np.float64] = np.sqrt((1 - alphas) / alphas)
        self._log_sigmas = np.log(self.sigmas)

    @property
    def smallest(self) -> float:
        """Return the sigma of timestep 0."""
        return float(self.sigmas[0])

    @property
    def largest(self) -> float:
        """Return the sigma of the last timestep."""
        return float(self.sigmas[-1])

    @property
    def timestep_count(self) -> int:
        """Return how many timesteps the model was trained on."""
        return len(self.sigmas)

    def sigma_at(self, timestep: float) -> float:
        """Return the sigma of a timestep; between two, log sigma is interpolated."""
        timesteps = np.arange(self.timestep_count)
        return math.exp(np.interp(timestep, timesteps, self._log_sigmas))

    def timestep_at(self, sigma: float) -> float:
        """Return the timestep of a sigma, clipped to the trained range; the inverse of `sigma_at`."""
        timesteps = np.arange(self.timestep_count, dtype=np.float64)
        return float(np.interp(math.log(max(sigma, 1e-10)), self._log_sigmas, timesteps))
