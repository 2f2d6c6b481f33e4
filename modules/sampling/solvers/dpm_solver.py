"""DPM-Solver (Lu et al. 2022, arXiv 2206.00927), an exponential integrator on the noise prediction: DPM fast, adaptive.

Both go from the first to the last sigma and choose the sigmas between them themselves; the last sigma is not 0. They
step in t = -log(sigma).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step

# The paper's tolerances for images, and k-diffusion's first step.
_RTOL, _ATOL, _H_INIT = 0.05, 0.0078, 0.05


def dpm_fast(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver-fast: third-order steps and a last one of lower order, one evaluation for each sigma but the last."""
    nfe = len(sigmas) - 1
    t_start, t_end = -math.log(sigmas[0]), -math.log(sigmas[-1])
    orders = [3] * (nfe // 3 - 1) + [2, 1] if nfe % 3 == 0 else [3] * (nfe // 3) + [nfe % 3]
    ts: list[float] = np.linspace(t_start, t_end, nfe // 3 + 2).tolist()
    for order, t, t_next in zip(orders, ts[:-1], ts[1:], strict=False):
        t_down, sigma_up = _ancestral_t(t, t_next, t_end, settings.eta_ancestral)
        eps = (x - (yield x, math.exp(-t))) * math.exp(t)
        _, x = yield from _SOLVER_STEPS[order](x, eps, t, t_down)
        if sigma_up > 0:
            x = x + noise() * (settings.s_noise * sigma_up)
    return x


def dpm_adaptive(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """DPM-Solver-23 with adaptive step size: a step is retried with a smaller h where the two orders differ too much.

    The number of evaluations is decided during the run, and reading the error waits for the device.
    """
    eta = settings.eta_ancestral
    t, t_end = -math.log(sigmas[0]), -math.log(sigmas[-1])
    step_size = _StepSizeController(_H_INIT, 1.5 if eta else 3)
    x_prev = x
    while t < t_end - 1e-5:
        t_next = min(t_end, t + step_size.h)
        t_down, sigma_up = _ancestral_t(t, t_next, t_end, eta)
        eps = (x - (yield x, math.exp(-t))) * math.exp(t)
        x_low, x_high = yield from _dpm_solver_3_step(x, eps, t, t_down)
        error = _scaled_error(x_low, x_high, x_prev)
        if not math.isfinite(error):
            return x_high  # smaller steps would not help; the caller of the sampler reports it
        if step_size.accept(error):
            x_prev, x, t = x_low, x_high, t_next
            if sigma_up > 0:
                x = x + noise() * sigma_up
    return x


# Returns the samples of the lower and of the higher order.
_StepGenerator = Generator[tuple[Tensor, float], Tensor, tuple[Tensor, Tensor]]


def _dpm_solver_1_step(x: Tensor, eps: Tensor, t: float, t_next: float) -> _StepGenerator:
    x = x - eps * (math.exp(-t_next) * math.expm1(t_next - t))
    return x, x
    yield  # makes this a generator like the other steps, without an evaluation


def _dpm_solver_2_step(x: Tensor, eps: Tensor, t: float, t_next: float) -> _StepGenerator:
    """DPM-Solver-2, algorithm 4 of the paper, with r1 = 1/2."""
    h, sigma_next = t_next - t, math.exp(-t_next)
    s1 = t + h / 2
    u1, _ = yield from _dpm_solver_1_step(x, eps, t, s1)
    d1 = (u1 - (yield u1, math.exp(-s1))) * math.exp(s1) - eps
    x_low = x - eps * (sigma_next * math.expm1(h))
    return x_low, x_low - d1 * (sigma_next * math.expm1(h))


def _dpm_solver_3_step(x: Tensor, eps: Tensor, t: float, t_next: float) -> _StepGenerator:
    """DPM-Solver-3, algorithm 5 of the paper, with r1 = 1/3 and r2 = 2/3; embeds a second-order step."""
    h, sigma_next = t_next - t, math.exp(-t_next)
    s1, s2 = t + h / 3, t + h * 2 / 3
    u1, _ = yield from _dpm_solver_1_step(x, eps, t, s1)
    d1 = (u1 - (yield u1, math.exp(-s1))) * math.exp(s1) - eps
    phi = math.expm1(h * 2 / 3) / (h * 2 / 3) - 1
    u2, _ = yield from _dpm_solver_1_step(x, eps, t, s2)
    u2 = u2 - d1 * (math.exp(-s2) * 2 * phi)
    d2 = (u2 - (yield u2, math.exp(-s2))) * math.exp(s2) - eps
    x_first_order = x - eps * (sigma_next * math.expm1(h))
    x_low = x_first_order - d1 * (sigma_next * 1.5 * math.expm1(h))
    return x_low, x_first_order - d2 * (sigma_next * 1.5 * (math.expm1(h) / h - 1))


_SOLVER_STEPS = {1: _dpm_solver_1_step, 2: _dpm_solver_2_step, 3: _dpm_solver_3_step}


def _ancestral_t(t: float, t_next: float, t_end: float, eta: float) -> tuple[float, float]:
    """Return t_down of an ancestral step, at most t_end, and sigma_up of the noise to add."""
    if not eta:
        return t_next, 0.0
    sigma_down, _ = ancestral_step(math.exp(-t), math.exp(-t_next), eta)
    t_down = min(t_end, -math.log(sigma_down)) if sigma_down > 0 else t_end
    return t_down, math.sqrt(max(0.0, math.exp(-2 * t_next) - math.exp(-2 * t_down)))


def _scaled_error(x_low: Tensor, x_high: Tensor, x_prev: Tensor) -> float:
    """Return the root mean square of the difference of two orders, in units of the tolerance."""
    delta = (abs(x_low).clip(abs(x_prev)) * _RTOL).clip(_ATOL)
    return float((((x_low - x_high) / delta) ** 2).mean() ** 0.5)


@dataclass
class _StepSizeController:
    """Chooses the size of each step (k-diffusion's PID controller with its integral term alone).

    Args:
        h: Size of the next step, in t.
        order: Order of the solver.
    """

    h: float
    order: float
    accept_safety: float = field(default=0.81, init=False)  # a step that shrinks more is rejected

    def accept(self, error: float) -> bool:
        """Return whether a step with this error is accepted, and set the size of the next one."""
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / self.order) - 1)
        self.h *= factor
        return factor >= self.accept_safety
