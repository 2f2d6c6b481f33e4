"""The noise levels a model was trained on, and the way from timestep to sigma and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Zero at the last timestep would be an infinite sigma; A1111 takes this share of signal instead.
_NEARLY_ZERO = 4.8973451890853435e-08


@dataclass(frozen=True)
class TimestepGrid:
    """How finely timesteps are told apart.

    Args:
        stride: How many of the model's timesteps one level stands for, the last of each.
        is_quantized: Whether the network is only shown timesteps that a level stands for, never one between.
    """

    stride: int = 1
    is_quantized: bool = False


class ModelSigmas:
    """Sigma of every training timestep: sqrt((1 - alphas_cumprod) / alphas_cumprod), Karras et al. 2022.

    Args:
        alphas_cumprod: The model's cumulative alphas, [timesteps], falling from near 1 to near 0.
        grid: Which of them count.

    Attributes:
        sigmas: Of the levels that count, rising; a level's place among them is its index.
    """

    def __init__(
        self,
        alphas_cumprod: Sequence[float] | NDArray[np.float64],
        grid: TimestepGrid | None = None,
    ) -> None:
        self._alphas = np.asarray(alphas_cumprod, dtype=np.float64)
        self._grid = grid or TimestepGrid()
        alphas = self._alphas[::-1][:: self._grid.stride][::-1]
        self.sigmas: NDArray[np.float64] = np.sqrt((1 - alphas) / alphas)
        self._log_sigmas = np.log(self.sigmas)

    @property
    def sigma_min(self) -> float:
        """Return the sigma of the first level."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Return the sigma of the last level."""
        return float(self.sigmas[-1])

    @property
    def count(self) -> int:
        """Return how many levels there are: the training's timesteps, unless they are strided."""
        return len(self.sigmas)

    def sigma_at(self, index: float) -> float:
        """Return the sigma of an index; between two, log sigma is interpolated."""
        return math.exp(np.interp(index, np.arange(self.count), self._log_sigmas))

    def index_at(self, sigma: float) -> float:
        """Return the index of a sigma, clipped to the trained range; the inverse of `sigma_at`."""
        log_sigma = math.log(max(sigma, 1e-10))
        if self._grid.is_quantized:
            return float(np.abs(self._log_sigmas - log_sigma).argmin())
        return float(np.interp(log_sigma, self._log_sigmas, np.arange(self.count)))

    def timestep_at(self, sigma: float) -> float:
        """Return the model's timestep of a sigma, which the network is shown."""
        return (self.index_at(sigma) + 1) * self._grid.stride - 1

    def log_alpha_at(self, timestep: float) -> float:
        """Return log sqrt(alphas_cumprod); between two timesteps it is interpolated (DPM-Solver's discrete time)."""
        steps = np.arange(len(self._alphas))
        return float(np.interp(timestep, steps, 0.5 * np.log(self._alphas)))

    def quantize(self, stride: int = 1) -> ModelSigmas:
        """Return every stride-th level, counted from the last, with a network that is shown no timestep between."""
        return ModelSigmas(self._alphas, TimestepGrid(stride, is_quantized=True))

    def to_half_precision(self) -> ModelSigmas:
        """Return the levels of alphas rounded to 16 bits, as A1111 had them before 1.7."""
        return ModelSigmas(self._alphas.astype(np.float16).astype(np.float64), self._grid)

    def with_zero_terminal_snr(self) -> ModelSigmas:
        """Return the levels shifted and scaled so that the last is noise alone (Lin et al. 2023, algorithm 1)."""
        roots = np.sqrt(self._alphas)
        first, last = roots[0], roots[-1]
        alphas = ((roots - last) * first / (first - last)) ** 2
        alphas[-1] = _NEARLY_ZERO
        return ModelSigmas(alphas, self._grid)
