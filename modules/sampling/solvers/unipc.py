"""UniPC (Zhao et al. 2023, arXiv 2302.04867): each evaluation corrects the last step and predicts the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor
from modules.sampling.solvers.ddim import to_variance_preserving

History = list[tuple[Tensor, float]]  # (denoised, sigma), the newest first


def unipc(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """UniPC on the data prediction. Algorithms 5 to 8 of Zhao et al. (2023), in terms of sigma.

    The order rises over the first steps and, by default, falls over the last; the last step is not corrected.
    """
    del noise  # deterministic
    count = len(sigmas) - 1
    order = min(settings.uni_pc_order, count)
    history: History = [((yield x, sigmas[0]), sigmas[0])]
    for index in range(1, count + 1):
        step_order = min(order, index)
        if settings.uni_pc_lower_order_final and index >= order:
            step_order = min(step_order, count + 1 - index)
        update = _Update(history[:step_order], sigmas[index], settings.uni_pc_variant)
        x_pred = update.predict(x)
        if index == count:
            return to_variance_preserving(x_pred, sigmas[-1])
        denoised = yield x_pred, sigmas[index]
        x = update.correct(x, denoised)
        history = [(denoised, sigmas[index]), *history][:order]
    return x


@dataclass(frozen=True)
class _Update:
    """One predictor or corrector step from the newest known sigma to sigma_next.

    Args:
        history: As many predictions as the step's order, the newest first.
        sigma_next: Target of the step.
        variant: "bh1", "bh2" or "vary_coeff", the forms of the paper's B(h).
    """

    history: History
    sigma_next: float
    variant: str

    @property
    def h(self) -> float:
        """Return the increase of the log signal-to-noise ratio."""
        return math.log(self.history[0][1] / self.sigma_next)

    @property
    def rks(self) -> list[float]:
        """Return the paper's r_k: distances of the older sigmas in units of h, negative."""
        sigma_0 = self.history[0][1]
        return [math.log(sigma_0 / sigma) / self.h for _, sigma in self.history[1:]]

    def predict(self, x: Tensor) -> Tensor:
        """Return the sample at sigma_next, from the predictions before it (UniP)."""
        return self._step(x, self.rks, self._d1s())

    def correct(self, x: Tensor, denoised: Tensor) -> Tensor:
        """Return the sample at sigma_next, from the prediction at sigma_next as well (UniC)."""
        denoised_0 = self.history[0][0]
        return self._step(
            x, [*self.rks, 1.0], [*self._d1s(), denoised - denoised_0], is_corrector=True
        )

    def _d1s(self) -> list[Tensor]:
        """Return the paper's D1: differences of the older predictions to the newest, divided by r_k."""
        denoised_0 = self.history[0][0]
        return [
            (denoised - denoised_0) / rk
            for (denoised, _), rk in zip(self.history[1:], self.rks, strict=True)
        ]

    def _step(
        self, x: Tensor, rks: list[float], d1s: list[Tensor], is_corrector: bool = False
    ) -> Tensor:
        denoised_0, sigma = self.history[0]
        x = x * (self.sigma_next / sigma) - denoised_0 * math.expm1(-self.h)
        for rho, d1 in zip(self._rhos(rks, is_corrector), d1s, strict=True):
            x = x - d1 * rho
        return x

    def _rhos(self, rks: list[float], is_corrector: bool) -> list[float]:
        """Return the weight of each D1: the paper's rho times B(h)."""
        if not rks:
            return []
        if self.variant == "vary_coeff":
            return _varying_coefficients(rks, -self.h, is_corrector)
        b_h = -self.h if self.variant == "bh1" else math.expm1(-self.h)
        # the paper's simplification for its first corrector and second predictor
        if len(rks) == 1:
            return [0.5 * b_h]
        r = np.array([[rk**power for rk in rks] for power in range(len(rks))])
        b = np.array(_phi_moments(len(rks), -self.h)) / b_h
        rhos: list[float] = (np.linalg.solve(r, b) * b_h).tolist()
        return rhos


def _phi_moments(count: int, h: float) -> list[float]:
    """Return k! phi_(k+1)(h) h, the right side of the paper's equation 5, for k from 1 on."""
    moments: list[float] = []
    h_phi_k, factorial = math.expm1(h) / h - 1, 1
    for k in range(1, count + 1):
        moments.append(h_phi_k * factorial)
        factorial *= k + 1
        h_phi_k = h_phi_k / h - 1 / factorial
    return moments


def _varying_coefficients(rks: list[float], h: float, is_corrector: bool) -> list[float]:
    """Return the weights of the paper's varying coefficients (appendix C).

    As in A1111, the newest difference of a corrector counts in its last row alone.
    """
    count = len(rks)
    columns: list[NDArray[np.float64]] = [np.ones(count)]
    for k in range(2, count + 1):
        columns.append(columns[-1] * np.array(rks) / k)
    inverse = np.linalg.inv(np.stack(columns, axis=1))
    phis, h_phi_k, factorial = list[float](), math.expm1(h), 1
    for k in range(1, count + 2):
        phis.append(h_phi_k)
        h_phi_k = h_phi_k / h - 1 / factorial
        factorial *= k + 1
    if not is_corrector:
        return (np.array(phis[1 : count + 1]) @ inverse).tolist()
    older = np.array(phis[1:count]) @ inverse[: count - 1, : count - 1]
    last = phis[count] * inverse[max(count - 2, 0), -1]
    return [*older.tolist(), float(last)]


def unipc_sigmas(
    count: int, first_timestep: float, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return the sigmas that UniPC visits in `count` steps, from a timestep down to timestep 0.

    Between two timesteps log alpha is interpolated (DPM-Solver's discrete time).

    Args:
        count: Number of steps.
        first_timestep: The timestep of the first sigma.
        model_sigmas: The model's sigmas.
        settings: uni_pc_skip_type says how the sigmas are spaced.
    """
    return _SKIP_TYPES[settings.uni_pc_skip_type](count, first_timestep, model_sigmas)


def _by_time(power: float) -> Callable[[int, float, ModelSigmas], list[float]]:
    def sigmas_by_time(count: int, first_timestep: float, model_sigmas: ModelSigmas) -> list[float]:
        total = model_sigmas.count
        t_start = math.pow((first_timestep + 1) / total, 1 / power)
        t_end = math.pow(1 / total, 1 / power)
        times: list[float] = np.linspace(t_start, t_end, count + 1).tolist()
        return [_sigma(model_sigmas.log_alpha_at(math.pow(t, power) * total - 1)) for t in times]

    return sigmas_by_time


def _by_snr(count: int, first_timestep: float, model_sigmas: ModelSigmas) -> list[float]:
    first, last = (
        math.log(_sigma(model_sigmas.log_alpha_at(timestep))) for timestep in (first_timestep, 0.0)
    )
    return np.exp(np.linspace(first, last, count + 1)).tolist()


_SKIP_TYPES = {"time_uniform": _by_time(1), "time_quadratic": _by_time(2), "logSNR": _by_snr}


def _sigma(log_alpha: float) -> float:
    return math.sqrt(math.expm1(-2 * log_alpha))
