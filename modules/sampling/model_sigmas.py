"""The sigmas a model was trained on, and the conversion between timestep and sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modules.sampling.arithmetic import FLOAT64, Arithmetic, Array

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
        arithmetic: How sigmas are computed, also those of schedules.
        is_half: Whether the sigmas and their logarithms are computed in 16 bits.

    Attributes:
        arithmetic: The argument.
        sigmas: Of the used timesteps, rising; `index` below is a position in it.
    """

    def __init__(
        self,
        alphas_cumprod: Sequence[float] | Array,
        grid: TimestepGrid | None = None,
        arithmetic: Arithmetic = FLOAT64,
        is_half: bool = False,
    ) -> None:
        self.arithmetic = arithmetic
        self._alphas = arithmetic.array(alphas_cumprod)
        self._grid = grid or TimestepGrid()
        self._is_half = is_half
        alphas = self._alphas[::-1][:: self._grid.stride][::-1]
        if is_half:
            alphas = alphas.astype(np.float16)
            self.sigmas: Array = arithmetic.array(np.sqrt((1 - alphas) / alphas))
            log_sigmas = arithmetic.log(self.sigmas).astype(np.float16)
            self._log_sigmas: Array = arithmetic.array(log_sigmas)
        else:
            self.sigmas = arithmetic.sqrt((1 - alphas) / alphas)
            self._log_sigmas = arithmetic.log(self.sigmas)

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
        return float(self.sigmas_at([index])[0])

    def sigmas_at(self, indices: Sequence[float] | Array) -> Array:
        """Return the sigmas at some indices; log sigma is interpolated between two."""
        positions = self.arithmetic.array(indices).clip(0, self.count - 1)
        below = np.floor(positions).astype(np.intp)
        above = np.ceil(positions).astype(np.intp)
        share = positions - np.floor(positions)
        return self.arithmetic.exp(
            (1 - share) * self._log_sigmas[below] + share * self._log_sigmas[above]
        )

    def index_at(self, sigma: float) -> float:
        """Return the index of a sigma, clipped to the trained range; the inverse of `sigma_at`."""
        log_sigma = self.arithmetic.log(self.arithmetic.array([max(sigma, 1e-10)]))[0]
        if self._grid.is_quantized:
            return float(np.abs(self._log_sigmas - log_sigma).argmin())
        reached = int(np.count_nonzero(self._log_sigmas <= log_sigma))
        below = min(max(reached - 1, 0), self.count - 2)
        low, high = self._log_sigmas[below], self._log_sigmas[below + 1]
        share = min(max((low - log_sigma) / (low - high), 0), 1)
        return float((1 - share) * below + share * (below + 1))

    def timestep_at(self, sigma: float) -> float:
        """Return the timestep that the network gets for a sigma."""
        return (self.index_at(sigma) + 1) * self._grid.stride - 1

    @property
    def timestep_count(self) -> int:
        """Return the number of training timesteps, also those without a sigma here."""
        return len(self._alphas)

    def nearest_timestep(self, sigma: float) -> int:
        """Return the timestep whose sigma is nearest to a sigma."""
        return (int(np.abs(self.sigmas - sigma).argmin()) + 1) * self._grid.stride - 1

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

    def with_arithmetic(self, arithmetic: Arithmetic) -> ModelSigmas:
        """Return the same sigmas with another arithmetic."""
        return ModelSigmas(self._alphas, self._grid, arithmetic, self._is_half)

    def quantize(self, stride: int = 1) -> ModelSigmas:
        """Return every stride-th sigma, counted back from the last; the network gets no timestep between them."""
        # Of the 16-bit alphas too A1111 makes LCM's table in 32 bits.
        is_half = self._is_half and stride == 1
        grid = TimestepGrid(stride, is_quantized=True)
        return ModelSigmas(self._alphas, grid, self.arithmetic, is_half)

    def to_half_precision(self, is_half: bool = False) -> ModelSigmas:
        """Return the sigmas of alphas_cumprod rounded to 16 bits, as in A1111 before 1.7.

        Args:
            is_half: Whether the sigmas too are computed in 16 bits, as for A1111's k-diffusion samplers.
        """
        return ModelSigmas(
            self._alphas.astype(np.float16), self._grid, self.arithmetic, is_half=is_half
        )

    def with_zero_terminal_snr(self) -> ModelSigmas:
        """Return the sigmas rescaled so that the last timestep is pure noise (Lin et al. 2023, algorithm 1)."""
        # Not in 16 bits: its last sigma would overflow.
        alphas_bar_sqrt = self.arithmetic.sqrt(self._alphas)
        first, last = alphas_bar_sqrt[0], alphas_bar_sqrt[-1]
        alphas = ((alphas_bar_sqrt - last) * (first / (first - last))) ** 2
        alphas[-1] = _MIN_ALPHA_CUMPROD
        return ModelSigmas(alphas, self._grid, self.arithmetic)
