"""The sigmas a model was trained on, and the conversion between timestep and sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# alphas_cumprod of 0 at the last timestep would be an infinite sigma; A1111 uses this value instead.
_MIN_ALPHA_CUMPROD = 4.8973451890853435e-08


@dataclass(frozen=True)
class TimestepGrid:
    """Which training timesteps have a sigma.

    Args:
        stride: Every stride-th timestep has one, counted back from the last.
        is_quantized: Whether the network only gets these timesteps, never a fractional one between them.
    """

    stride: int = 1
    is_quantized: bool = False


class ModelSigmas:
    """Sigma of every training timestep: sqrt((1 - alphas_cumprod) / alphas_cumprod), Karras et al. 2022.

    Args:
        alphas_cumprod: The model's cumulative product of alphas, [timesteps], falling from near 1 to near 0.
        grid: Which timesteps are used; all by default.

    Attributes:
        sigmas: Of the used timesteps, rising; `index` below is a position in it.
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
        """Return the smallest sigma."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """Return the largest sigma."""
        return float(self.sigmas[-1])

    @property
    def count(self) -> int:
        """Return the number of sigmas: of training timesteps, unless strided."""
        return len(self.sigmas)

    def sigma_at(self, index: float) -> float:
        """Return the sigma at an index; log sigma is interpolated between two."""
        return math.exp(np.interp(index, np.arange(self.count), self._log_sigmas))

    def index_at(self, sigma: float) -> float:
        """Return the index of a sigma, clipped to the trained range; the inverse of `sigma_at`."""
        log_sigma = math.log(max(sigma, 1e-10))
        if self._grid.is_quantized:
            return float(np.abs(self._log_sigmas - log_sigma).argmin())
        return float(np.interp(log_sigma, self._log_sigmas, np.arange(self.count)))

    def timestep_at(self, sigma: float) -> float:
        """Return the timestep that the network gets for a sigma."""
        return (self.index_at(sigma) + 1) * self._grid.stride - 1

    def log_alpha_at(self, timestep: float) -> float:
        """Return log sqrt(alphas_cumprod), interpolated between timesteps (DPM-Solver's discrete time)."""
        timesteps = np.arange(len(self._alphas))
        return float(np.interp(timestep, timesteps, 0.5 * np.log(self._alphas)))

    def timestep_by_alpha(self, sigma: float) -> float:
        """Return the timestep of a sigma, clipped to the trained range; the inverse of `log_alpha_at`.

        Between two timesteps it is up to 0.002 from `timestep_at`, which interpolates log sigma.
        """
        log_alphas = 0.5 * np.log(self._alphas[::-1])
        timesteps = np.arange(len(self._alphas))[::-1]
        return float(np.interp(-0.5 * math.log1p(sigma**2), log_alphas, timesteps))

    def quantize(self, stride: int = 1) -> ModelSigmas:
        """Return every stride-th sigma, counted back from the last; the network gets no timestep between them."""
        return ModelSigmas(self._alphas, TimestepGrid(stride, is_quantized=True))

    def to_half_precision(self) -> ModelSigmas:
        """Return the sigmas of alphas_cumprod rounded to 16 bits, as in A1111 before 1.7."""
        return ModelSigmas(self._alphas.astype(np.float16).astype(np.float64), self._grid)

    def with_zero_terminal_snr(self) -> ModelSigmas:
        """Return the sigmas rescaled so that the last timestep is pure noise (Lin et al. 2023, algorithm 1)."""
        alphas_bar_sqrt = np.sqrt(self._alphas)
        first, last = alphas_bar_sqrt[0], alphas_bar_sqrt[-1]
        alphas = ((alphas_bar_sqrt - last) * first / (first - last)) ** 2
        alphas[-1] = _MIN_ALPHA_CUMPROD
        return ModelSigmas(alphas, self._grid)
