"""Normal random numbers of an NVIDIA card on any machine: Philox 4x32-10 in numpy.

Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", with the counters of CUDA's cuRAND as torch fills
them. Equal to torch on a CUDA device for up to as many numbers as the card has threads: 2^18 on a large one, the
latents of 2048x2048 pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
# The multipliers and, round after round, the Weyl sequence of the paper's section 3.3: a row for each key.
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
_WEYL = np.arange(_ROUNDS, dtype=np.uint64)[:, None, None] * np.array(
    [[0x9E3779B9], [0xBB67AE85]], dtype=np.uint64
)
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_STEP = 2.0**-32
# cuRAND stores 2 pi in 32 bits.
_ANGLE_STEP = _STEP * float(np.float32(2 * math.pi))
# Numbers at a time: what they are computed in stays in a core's cache.
_BLOCK = 2**14


class Philox:
    """A generator with its own state: the seed is the key, and the draw number is the first word of each counter.

    Args:
        seed: Any integer; it is taken modulo 2^64.
    """

    def __init__(self, seed: int) -> None:
        key = np.array([[seed % 2**32], [(seed >> 32) % 2**32]], dtype=np.uint64)
        self._keys = (key + _WEYL) & _LOW
        self._draw = 0

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the next draw of unit normal numbers, of any shape."""
        numbers = np.empty(math.prod(shape), dtype=np.float32)
        for start in range(0, len(numbers), _BLOCK):
            self._fill(numbers[start : start + _BLOCK], start)
        self._draw += 1
        return numbers.reshape(shape)

    def _fill(self, numbers: NDArray[np.float32], start: int) -> None:
        """Write the numbers of this draw from an index on."""
        first, second = self._words(start, len(numbers))
        # Box and Muller 1958; of the two numbers torch uses the one with the sine.
        radius, angle = first * _STEP, second * _ANGLE_STEP
        radius += _STEP / 2
        np.log(radius, out=radius)
        radius *= -2
        np.sqrt(radius, out=radius)
        angle += _ANGLE_STEP / 2
        np.sin(angle, out=angle)
        np.multiply(radius, angle, out=numbers, casting="same_kind")

    def _words(self, start: int, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the first two of the four words of each number's block, as 32-bit values."""
        # Words 0 and 2, and words 1 and 3, in 64 bits, so that products do not overflow.
        even, odd, product = np.empty((3, 2, count), dtype=np.uint64)
        even[0], even[1] = self._draw, np.arange(start, start + count, dtype=np.uint64)
        odd[:] = 0
        exchanged = product[::-1]
        for keys in self._keys:
            np.multiply(even, _MULTIPLIERS, out=product)
            np.right_shift(exchanged, _WORD, out=even)
            even ^= odd
            even ^= keys
            np.bitwise_and(exchanged, _LOW, out=odd)
        return even[0], odd[0]
