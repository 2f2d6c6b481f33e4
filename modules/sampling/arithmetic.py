"""The precision and the elementary functions with which schedules are computed.

A1111 computes them with torch in float32. An SDE sampler shows the last digit of a sigma, because its Brownian motion
at sigma 14.6 is another one a single digit further. This floor does not import torch, so its functions are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Arithmetic:
    """Elementary functions of one precision. They take arrays of its dtype, or numbers, and return such arrays.

    Args:
        dtype: The precision.
        linspace: Returns evenly spaced numbers from the first to the second, as many as the third.
        sqrt: As numpy's.
        exp: As numpy's.
        log: As numpy's, to base e.
        tan: As numpy's.
        arctan: As numpy's.
        power: Returns the array to the power of a number.
    """

    dtype: type[np.floating[Any]]
    linspace: Callable[[float, float, int], Array]
    sqrt: Callable[[Array], Array]
    exp: Callable[[Array], Array]
    log: Callable[[Array], Array]
    tan: Callable[[Array], Array]
    arctan: Callable[[Array], Array]
    power: Callable[[Array, float], Array]

    def array(self, values: Any) -> Array:  # Any: whatever numpy makes an array of
        """Return the values in this precision."""
        return np.asarray(values, dtype=self.dtype)


FLOAT64 = Arithmetic(
    np.float64, np.linspace, np.sqrt, np.exp, np.log, np.tan, np.arctan, np.float_power
)
