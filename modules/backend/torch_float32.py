"""torch's float32 as the arithmetic of schedules: A1111 computes them with it, on the CPU whatever the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from modules.sampling.arithmetic import Arithmetic, Array


def _on_arrays(function: Callable[[Tensor], Tensor]) -> Callable[[Array], Array]:
    # numpy's own float32 functions differ from torch's by an ulp or two.
    return lambda values: function(_tensor(values)).numpy()


def _linspace(start: float, end: float, count: int) -> Array:
    return torch.linspace(start, end, count, dtype=torch.float32, device="cpu").numpy()


def _power(values: Array, exponent: float) -> Array:
    return torch.pow(_tensor(values), exponent).numpy()


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(
        np.ascontiguousarray(values, dtype=np.float32).reshape(np.shape(values))
    )


TORCH_FLOAT32 = Arithmetic(
    np.float32,
    _linspace,
    *(
        _on_arrays(function)
        for function in (torch.sqrt, torch.exp, torch.log, torch.tan, torch.arctan)
    ),
    power=_power,
)
