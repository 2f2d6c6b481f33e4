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
# The multipliers and the Weyl sequence of the paper's section 3.3.
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_STEP = 2.0**-32
# cuRAND stores 2 pi in 32 bits.
_ANGLE_STEP = _STEP * float(np.float32(2 * math.pi))


class Philox:
    """A generator with its own state: the seed is the key, and the draw number is the first word of each counter.

    Args:
        seed: Any integer; it is taken modulo 2^64.
    """

    def __init__(self, seed: int) -> None:
        self._key = seed % 2**32, (seed >> 32) % 2**32
        self._draw = 0

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the next draw of unit normal numbers, of any shape."""
        first, second = self._words(math.prod(shape))
        self._draw += 1
        # Box and Muller 1958; of the two numbers torch uses the one with the sine.
        radius = np.sqrt(-2 * np.log(first * _STEP + _STEP / 2))
        numbers = radius * np.sin(second * _ANGLE_STEP + _ANGLE_STEP / 2)
        return numbers.astype(np.float32).reshape(shape)

    def _words(self, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the first two of the four words of each number's block, as 32-bit values."""
        # 64-bit arrays, so that products do not overflow.
        words = [
            np.full(count, self._draw, dtype=np.uint64),
            np.zeros(count, dtype=np.uint64),
            np.arange(count, dtype=np.uint64),
            np.zeros(count, dtype=np.uint64),
        ]
        for round_index in range(_ROUNDS):
            keys = [
                np.uint64((key + round_index * weyl) % 2**32)
                for key, weyl in zip(self._key, _WEYL, strict=True)
            ]
            product, other = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
            words = [
                (other >> _WORD) ^ words[1] ^ keys[0],
                other & _LOW,
                (product >> _WORD) ^ words[3] ^ keys[1],
                product & _LOW,
            ]
        return words[0], words[1]
