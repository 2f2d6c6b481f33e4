"""DPM-Solver (Lu et al. 2022, arXiv 2206.00927): the exponential integrator on the noise prediction. DPM fast, adaptive.

Both walk from the first to the last of the levels that they are given and choose what lies between by themselves; the
last level is not 0. They step in t = -log(sigma).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor, ancestral_step

# The paper's tolerances for pictures, and k-diffusion's first step.
_RELATIVE, _ABSOLUTE, _FIRST_STEP = 0.05, 0.0078, 0.05


def dpm_fast(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver-fast: third-order steps, the last of lower order, one evaluation for each level but the last."""
    count = len(sigmas) - 1
    begin, end = -math.log(sigmas[0]), -math.log(sigmas[-1])
    orders = [3] * (count // 3 - 1) + [2, 1] if count % 3 == 0 else [3] * (count // 3) + [count % 3]
    times: list[float] = np.linspace(begin, end, count // 3 + 2).tolist()
    for order, t, t_next in zip(orders, times[:-1], times[1:], strict=False):
        t_down, up = _renewal(t, t_next, end, settings.eta_ancestral)
        epsilon = (x - (yield x, math.exp(-t))) * math.exp(t)
        _, x = yield from _SOLVERS[order](x, epsilon, t, t_down)
        if up > 0:
            x = x + noise() * (settings.s_noise * up)
    return x


def dpm_adaptive(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Walk by DPM-Solver-23: a step is tried again, smaller, where the two orders disagree too much.

    The number of evaluations is decided on the way, and looking at the disagreement waits for the device.
    """
    eta = settings.eta_ancestral
    t, end = -math.log(sigmas[0]), -math.log(sigmas[-1])
    controller = _Controller(_FIRST_STEP, 1.5 if eta else 3)
    former = x
    while t < end - 1e-5:
        t_next = min(end, t + controller.step)
        t_down, up = _renewal(t, t_next, end, eta)
        epsilon = (x - (yield x, math.exp(-t))) * math.exp(t)
        low, high = yield from _third_order(x, epsilon, t, t_down)
        error = _disagreement(low, high, former)
        if not math.isfinite(error):
            return high  # smaller steps would not help; who runs the sampler tells of it
        if controller.accepts(error):
            former, x, t = low, high, t_next
            if up > 0:
                x = x + noise() * up
    return x


Pair = Generator[
    tuple[Tensor, float], Tensor, tuple[Tensor, Tensor]
]  # ends with a lower and a higher order


def _first_order(x: Tensor, epsilon: Tensor, t: float, t_next: float) -> Pair:
    x = x - epsilon * (math.exp(-t_next) * math.expm1(t_next - t))
    return x, x
    yield  # a generator as its siblings, of no evaluation of its own


def _second_order(x: Tensor, epsilon: Tensor, t: float, t_next: float) -> Pair:
    """Take DPM-Solver-2's step (algorithm 4), through its middle."""
    step, scale = t_next - t, math.exp(-t_next)
    middle = t + step / 2
    there, _ = yield from _first_order(x, epsilon, t, middle)
    change = (there - (yield there, math.exp(-middle))) * math.exp(middle) - epsilon
    low = x - epsilon * (scale * math.expm1(step))
    return low, low - change * (scale * math.expm1(step))


def _third_order(x: Tensor, epsilon: Tensor, t: float, t_next: float) -> Pair:
    """Take DPM-Solver-3's step (algorithm 5) through its thirds, with the second-order one that they hold already."""
    step, scale = t_next - t, math.exp(-t_next)
    third, thirds = t + step / 3, t + step * 2 / 3
    there, _ = yield from _first_order(x, epsilon, t, third)
    change = (there - (yield there, math.exp(-third))) * math.exp(third) - epsilon
    bend = math.expm1(step * 2 / 3) / (step * 2 / 3) - 1
    there, _ = yield from _first_order(x, epsilon, t, thirds)
    there = there - change * (math.exp(-thirds) * 2 * bend)
    later = (there - (yield there, math.exp(-thirds))) * math.exp(thirds) - epsilon
    straight = x - epsilon * (scale * math.expm1(step))
    low = straight - change * (scale * 1.5 * math.expm1(step))
    return low, straight - later * (scale * 1.5 * (math.expm1(step) / step - 1))


_SOLVERS = {1: _first_order, 2: _second_order, 3: _third_order}


def _renewal(t: float, t_next: float, end: float, eta: float) -> tuple[float, float]:
    """Return where an ancestral step leads, never beyond the end, and the noise that leads back up."""
    if not eta:
        return t_next, 0.0
    down, _ = ancestral_step(math.exp(-t), math.exp(-t_next), eta)
    t_down = min(end, -math.log(down)) if down > 0 else end
    return t_down, math.sqrt(max(0.0, math.exp(-2 * t_next) - math.exp(-2 * t_down)))


def _disagreement(low: Tensor, high: Tensor, former: Tensor) -> float:
    """Return the distance of two orders in units of what is tolerated, as the root of the mean square."""
    tolerated = (abs(low).clip(abs(former)) * _RELATIVE).clip(_ABSOLUTE)
    return float((((low - high) / tolerated) ** 2).mean() ** 0.5)


@dataclass
class _Controller:
    """Chooses the length of each step (k-diffusion's PID controller with its integral part alone).

    Args:
        step: Of the next step, in t.
        order: Of the solver.
    """

    step: float
    order: float
    least: float = field(
        default=0.81, init=False
    )  # shrunk by more than this, a step is not accepted

    def accepts(self, error: float) -> bool:
        """Return whether a step with this disagreement counts, and choose the next one's length."""
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / self.order) - 1)
        self.step *= factor
        return factor >= self.least
