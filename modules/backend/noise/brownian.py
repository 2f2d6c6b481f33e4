"""A Brownian motion with reproducible increments over any interval, queried in any order.

k-diffusion's SDE samplers take their noise from one, so that the image stays the same with another spacing of the
steps. This is the tree of torchsde's `BrownianTree` (Li et al. 2020, "Scalable Gradients for Stochastic Differential
Equations", section 4), with its seeds and its rounding, so that A1111's images are reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# torchsde's tolerance of 1e-6: sigmas that agree to this many digits are the same.
_DIGITS = 6
_POOL_SIZE = 24


class BrownianTree:
    """W on an interval, bisected by Brownian bridges down to the requested point.

    Args:
        entropy: The seed of the motion.
        low: Start of the interval.
        high: Its end, greater than the start.
        draw: Returns unit normal noise of the motion's shape for a seed.
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
        self._noise_of_path: list[
            tuple[int, Tensor]
        ] = []  # by depth: path of the node last visited, its noise

    def between(self, start: float, end: float) -> Tensor:
        """Return W(end) - W(start), whose variance is the distance; points outside the interval are clamped to it."""
        ends = [round(_single(sigma), _DIGITS) for sigma in (start, end)]
        values = [self._at(point) for point in ends]
        # The next step of a run starts where this one ends.
        self._last_values = dict(zip(ends, values, strict=True))
        return values[1] - values[0]

    def _at(self, point: float) -> Tensor:
        """Return W(point); W is 0 at the start of the interval."""
        if point in self._last_values:
            return self._last_values[point]
        if point >= self._high:
            return self._total_increment
        low, high = self._low, self._high
        value, increment = torch.zeros_like(self._total_increment), self._total_increment
        path = depth = 0
        while point > low:
            middle = round((low + high) / 2, _DIGITS)
            noise = self._path_noise(path, depth)
            first = self._bridge(increment, (low, middle, high), noise)
            is_in_second_half = point >= middle
            if is_in_second_half:
                value, increment, low = value + first, increment - first, middle
            else:
                increment, high = first, middle
            path, depth = 2 * path + is_in_second_half, depth + 1
        return value

    @staticmethod
    def _bridge(increment: Tensor, ends: tuple[float, float, float], noise: Tensor) -> Tensor:
        """Return the increment over the first half of an interval: a Brownian bridge."""
        low, middle, high = ends
        deviation = math.sqrt((middle - low) * (high - middle) / (high - low))
        return increment * ((middle - low) / (high - low)) + noise * deviation

    def _path_noise(self, path: int, depth: int) -> Tensor:
        """Return the noise of a node; neighbouring points share the first nodes of their paths."""
        known = self._noise_of_path
        if depth < len(known) and known[depth][0] == path:
            return known[depth][1]
        noise = self._node_noise(path, depth)
        known[depth:] = [(path, noise)]
        return noise

    def _node_noise(self, *node: int) -> Tensor:
        """Return the unit noise of a node (path, depth) of the tree; without arguments, of the whole interval."""
        seeds = np.random.SeedSequence(self._entropy, spawn_key=node, pool_size=_POOL_SIZE)
        return self._draw(int(seeds.generate_state(1)[0]))


def _single(sigma: float) -> float:
    # k-diffusion passes sigmas in 32 bits.
    return float(np.float32(sigma))
