"""Reads, converts and moves a file's tensors for computing; the copies share one buffer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage


def materialize(
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    device: torch.device,
    read: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Return a copy of each tensor; on the CPU the copies share one buffer.

    Args:
        weights: On the CPU, of any dtype, or on `meta`.
        dtype: Of the results.
        device: Likewise.
        read: Returns the values of a tensor whose place in a file is known; it is dropped once it is copied.
    """
    results = list(weights)
    if weights and weights[0].is_meta:
        return [weight.to(dtype) for weight in weights]
    # In file order: a disk is slower in any other.
    to_copy = sorted(range(len(weights)), key=lambda index: weights[index].data_ptr())
    if device.type != "cpu":
        for index in to_copy:
            results[index] = read(weights[index]).to(device, dtype)
        return results
    buffers = allocate_buffers(TensorSpec(weights[index].shape, dtype) for index in to_copy)
    for index, buffer in zip(to_copy, buffers, strict=True):
        results[index] = buffer.copy_(read(weights[index]))
    return results


ALIGNMENT = 64  # bytes, as in torch's own allocator


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


class TensorSpec(NamedTuple):
    """Shape and dtype of a tensor to allocate."""

    shape: torch.Size
    dtype: torch.dtype


def allocate_buffers(specs: Iterable[TensorSpec]) -> list[Tensor]:
    """Return uninitialised CPU tensors, each at an address divisible by ALIGNMENT, all in one storage.

    The storage lives as long as the last of them, and is then returned to the system as a whole.
    """
    specs = list(specs)
    starts, end = [], 0
    for spec in specs:
        starts.append(end)
        end += -(-spec.shape.numel() * spec.dtype.itemsize // ALIGNMENT) * ALIGNMENT
    storage = torch.empty(end, dtype=torch.uint8).untyped_storage()
    # No MADV_HUGEPAGE: when memory is fragmented, the kernel first moves other pages, and that took longer.
    return [_view(storage, start, spec) for start, spec in zip(starts, specs, strict=True)]


def _view(storage: UntypedStorage, start: int, spec: TensorSpec) -> Tensor:
    offset = start // spec.dtype.itemsize
    stride = _contiguous_stride(spec.shape)
    return torch.empty(0, dtype=spec.dtype).set_(storage, offset, spec.shape, stride)  # pyright: ignore[reportArgumentType]


def _contiguous_stride(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[dim + 1 :].numel() for dim in range(len(shape)))
