"""A Brownian motion that can be asked for any stretch of it, in any order, with the same answer.

k-diffusion's SDE samplers take their noise from one, so that the picture stays the same when the steps are spread
otherwise. This is the tree of torchsde's `BrownianTree` (Li et al. 2020, "Scalable Gradients for Stochastic
Differential Equations", section 4), with its seeds and its rounding, so that A1111's pictures come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# torchsde's tolerance of 1e-6: levels that agree to so many digits are the same one.
_DIGITS = 6
_POOL_SIZE = 24


class BrownianTree:
    """W on an interval, halved again and again by Brownian bridges until the asked point is met.

    Args:
        entropy: The seed of the whole motion.
        low: Beginning of the interval.
        high: Its end, above the beginning.
        draw: From a seed to unit normal numbers of the motion's shape.
    """

    def __init__(
        self, entropy: int, low: float, high: float, draw: Callable[[int], Tensor]
    ) -> None:
        self._entropy = entropy
        self._draw = draw
        low, high = _single(low), _single(high)
        self._total_increment = self._node_noise() * math.sqrt(high - low)
        self._low, self._high = round(low, _DIGITS), round(high, _DIGITS)
        self._last_values: dict[float, Tensor] = {}

    def between(self, start: float, end: float) -> Tensor:
        """Return W(end) - W(start), whose variance is the distance; points outside the interval are its ends."""
        ends = [round(_single(level), _DIGITS) for level in (start, end)]
        values = [self._at(point) for point in ends]
        self._last_values = dict(
            zip(ends, values, strict=True)
        )  # a walk goes on from where it stands
        return values[1] - values[0]

    def _at(self, point: float) -> Tensor:
        """Return W(point); W is 0 at the interval's beginning."""
        if point in self._last_values:
            return self._last_values[point]
        if point >= self._high:
            return self._total_increment
        low, high = self._low, self._high
        before, increment = torch.zeros_like(self._total_increment), self._total_increment
        path = depth = 0
        while point > low:
            middle = round((low + high) / 2, _DIGITS)
            first = self._bridge(increment, (low, middle, high), self._node_noise(path, depth))
            is_beyond = point >= middle
            if is_beyond:
                before, increment, low = before + first, increment - first, middle
            else:
                increment, high = first, middle
            path, depth = 2 * path + is_beyond, depth + 1
        return before

    @staticmethod
    def _bridge(increment: Tensor, ends: tuple[float, float, float], noise: Tensor) -> Tensor:
        """Return the increment from a stretch's beginning to its middle: a Brownian bridge."""
        low, middle, high = ends
        deviation = math.sqrt((middle - low) * (high - middle) / (high - low))
        return increment * ((middle - low) / (high - low)) + noise * deviation

    def _node_noise(self, *node: int) -> Tensor:
        """Return the unit noise of a node of the tree, that of the whole interval for none."""
        seeds = np.random.SeedSequence(self._entropy, spawn_key=node, pool_size=_POOL_SIZE)
        return self._draw(int(seeds.generate_state(1)[0]))


def _single(level: float) -> float:
    # k-diffusion hands its levels over in 32 bits.
    return float(np.float32(level))
