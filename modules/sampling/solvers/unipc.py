"""UniPC (Zhao et al. 2023, arXiv 2302.04867): each evaluation corrects the step that led to it and predicts the next."""

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

Past = list[tuple[Tensor, float]]  # predictions and their levels, the newest first


def unipc(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by UniPC on the data prediction, in sigma's terms (Zhao et al. 2023, algorithms 5 to 8).

    The order grows with the first steps and, by default, falls with the last; the last step is not corrected.
    """
    del noise  # deterministic
    count = len(sigmas) - 1
    order = min(settings.uni_pc_order, count)
    past: Past = [((yield x, sigmas[0]), sigmas[0])]
    for place in range(1, count + 1):
        step_order = min(order, place)
        if settings.uni_pc_lower_order_final and place >= order:
            step_order = min(step_order, count + 1 - place)
        update = _Update(past[:step_order], sigmas[place], settings.uni_pc_variant)
        predicted = update.predicted(x)
        if place == count:
            return to_variance_preserving(predicted, sigmas[-1])
        denoised = yield predicted, sigmas[place]
        x = update.corrected(x, denoised)
        past = [(denoised, sigmas[place]), *past][:order]
    return x


@dataclass(frozen=True)
class _Update:
    """One step from the newest known level to the next.

    Args:
        past: As many predictions as the step's order, the newest first.
        sigma_next: Where the step leads.
        variant: "bh1", "bh2" or "vary_coeff", the forms of the paper's B(h).
    """

    past: Past
    sigma_next: float
    variant: str

    @property
    def step(self) -> float:
        """Return h, the rise of the log signal-to-noise ratio."""
        return math.log(self.past[0][1] / self.sigma_next)

    @property
    def ratios(self) -> list[float]:
        """Return how far back the older levels lie, in steps: negative."""
        newest = self.past[0][1]
        return [math.log(newest / sigma) / self.step for _, sigma in self.past[1:]]

    def predicted(self, x: Tensor) -> Tensor:
        """Return the sample at the next level, from what is known before it."""
        return self._moved(x, self.ratios, self._differences())

    def corrected(self, x: Tensor, denoised: Tensor) -> Tensor:
        """Return it again, with the prediction that was made at the next level."""
        newest = self.past[0][0]
        return self._moved(
            x, [*self.ratios, 1.0], [*self._differences(), denoised - newest], is_corrector=True
        )

    def _differences(self) -> list[Tensor]:
        newest = self.past[0][0]
        return [
            (denoised - newest) / ratio
            for (denoised, _), ratio in zip(self.past[1:], self.ratios, strict=True)
        ]

    def _moved(
        self, x: Tensor, ratios: list[float], differences: list[Tensor], is_corrector: bool = False
    ) -> Tensor:
        newest, sigma = self.past[0]
        x = x * (self.sigma_next / sigma) - newest * math.expm1(-self.step)
        for weight, difference in zip(
            self._weights(ratios, is_corrector), differences, strict=True
        ):
            x = x - difference * weight
        return x

    def _weights(self, ratios: list[float], is_corrector: bool) -> list[float]:
        if not ratios:
            return []
        if self.variant == "vary_coeff":
            return _varying(ratios, -self.step, is_corrector)
        size = -self.step if self.variant == "bh1" else math.expm1(-self.step)
        if (
            len(ratios) == 1
        ):  # the paper's simplification for its first corrector and second predictor
            return [0.5 * size]
        powers = np.array([[ratio**power for ratio in ratios] for power in range(len(ratios))])
        moments = np.array(_moments(len(ratios), -self.step)) / size
        weights: list[float] = (np.linalg.solve(powers, moments) * size).tolist()
        return weights


def _moments(count: int, step: float) -> list[float]:
    """Return k! phi_(k+1)(step) step, the right side of the paper's equation 5, for k from 1 on."""
    found: list[float] = []
    phi, factorial = math.expm1(step) / step - 1, 1
    for k in range(1, count + 1):
        found.append(phi * factorial)
        factorial *= k + 1
        phi = phi / step - 1 / factorial
    return found


def _varying(ratios: list[float], step: float, is_corrector: bool) -> list[float]:
    """Return the weights of the paper's varying coefficients (appendix C).

    As in A1111, the newest difference of a corrector counts in its last row alone.
    """
    count = len(ratios)
    columns: list[NDArray[np.float64]] = [np.ones(count)]
    for k in range(2, count + 1):
        columns.append(columns[-1] * np.array(ratios) / k)
    inverse = np.linalg.inv(np.stack(columns, axis=1))
    phis, phi, factorial = list[float](), math.expm1(step), 1
    for k in range(1, count + 2):
        phis.append(phi)
        phi = phi / step - 1 / factorial
        factorial *= k + 1
    if not is_corrector:
        return (np.array(phis[1 : count + 1]) @ inverse).tolist()
    older = np.array(phis[1:count]) @ inverse[: count - 1, : count - 1]
    last = phis[count] * inverse[max(count - 2, 0), -1]
    return [*older.tolist(), float(last)]


def unipc_sigmas(
    count: int, first_timestep: float, model_sigmas: ModelSigmas, settings: SamplingSettings
) -> list[float]:
    """Return UniPC's own levels: of `count` steps from a timestep down to the first one.

    Between two timesteps log alpha is interpolated (DPM-Solver's discrete time).

    Args:
        count: How many steps lead from the first level to the last.
        first_timestep: The timestep of the first level.
        model_sigmas: The model's.
        settings: How the levels are spread: uni_pc_skip_type.
    """
    return _SPREADS[settings.uni_pc_skip_type](count, first_timestep, model_sigmas)


def _by_time(power: float) -> Callable[[int, float, ModelSigmas], list[float]]:
    def spread_by_time(count: int, top: float, levels: ModelSigmas) -> list[float]:
        total = levels.count
        begin, end = math.pow((top + 1) / total, 1 / power), math.pow(1 / total, 1 / power)
        times: list[float] = np.linspace(begin, end, count + 1).tolist()
        return [_sigma(levels.log_alpha_at(math.pow(t, power) * total - 1)) for t in times]

    return spread_by_time


def _by_snr(count: int, top: float, levels: ModelSigmas) -> list[float]:
    begin, end = (math.log(_sigma(levels.log_alpha_at(timestep))) for timestep in (top, 0.0))
    return np.exp(np.linspace(begin, end, count + 1)).tolist()


_SPREADS = {"time_uniform": _by_time(1), "time_quadratic": _by_time(2), "logSNR": _by_snr}


def _sigma(log_alpha: float) -> float:
    return math.sqrt(math.expm1(-2 * log_alpha))
