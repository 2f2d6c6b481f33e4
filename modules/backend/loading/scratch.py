"""Memory that is used again for one tensor after another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_CPU = torch.device("cpu")


class Scratch:
    """Memory for one tensor after another, of which only the latest is valid.

    Fresh memory costs more than reading or adding the weights that go through it: the kernel clears it page by page.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def take(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return an uninitialised tensor."""
        size = math.prod(shape) * dtype.itemsize
        if self._memory.nbytes < size or self._memory.device != device:
            self._memory = torch.empty(size, dtype=torch.uint8, device=device)
        return self._memory[:size].view(dtype).view(*shape)


def convert(source: Tensor, target: Tensor, wide: Tensor) -> None:
    """Copy values into a tensor of any dtype.

    Args:
        source: On the CPU, contiguous.
        target: Likewise, of as many values; where `is_converted_in_two`, it may be the same memory.
        wide: float32 memory of one dimension, for as many values as are copied at once.
    """
    in_two, count = is_converted_in_two(source, target), wide.numel()
    parts = zip(source.view(-1).split(count), target.view(-1).split(count), strict=True)
    for part, place in parts:
        if in_two:
            part = (wide if part.numel() == count else wide[: part.numel()]).copy_(part)
        place.copy_(part)


def is_converted_in_two(source: Tensor, target: Tensor) -> bool:
    """Return whether `convert` is quicker than torch, which goes value by value between two dtypes of 16 bits.

    It goes by vectors from and to 32 bits, which hold the values of both exactly.
    """
    dtypes = {source.dtype, target.dtype}
    return source.device == target.device == _CPU and dtypes == {torch.float16, torch.bfloat16}
