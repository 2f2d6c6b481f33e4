"""Reads, converts and moves a file's tensors for computing; the copies share one buffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage

from modules.backend.loading.pieces import Copies
from modules.backend.loading.state_dict import copy_tensors, read_tensor


def materialize(
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    device: torch.device,
    state_dict: Mapping[str, Tensor],
    copies: Copies | None = None,
) -> list[Tensor]:
    """Return a copy of each tensor; on the CPU the copies share one buffer.

    Args:
        weights: Of the state dict, or views of them, on the CPU, of any dtype, or on `meta`.
        dtype: Of the results.
        device: Likewise.
        state_dict: Of a file or in memory.
        copies: Fills results on the CPU until its block ends; None fills them now.
    """
    results = list(weights)
    if weights and weights[0].is_meta:
        return [weight.to(dtype) for weight in weights]
    # In file order: a disk is slower in any other.
    to_copy = sorted(range(len(weights)), key=lambda index: weights[index].data_ptr())
    if device.type != "cpu":
        for index in to_copy:
            results[index] = read_tensor(state_dict, weights[index]).to(device, dtype)
        return results
    buffers = allocate_buffers(TensorSpec(weights[index].shape, dtype) for index in to_copy)
    copy_tensors(state_dict, [weights[index] for index in to_copy], buffers, copies)
    for index, buffer in zip(to_copy, buffers, strict=True):
        results[index] = buffer
    return results


ALIGNMENT = 64  # bytes, as in torch's own allocator


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
    # No MADV_HUGEPAGE: what a virtual machine has given back to its host are whole huge pages, and getting them again took
    # three times as long as loading into small ones; where memory is fragmented, the kernel first moves other pages.
    return [_view(storage, start, spec) for start, spec in zip(starts, specs, strict=True)]


def _view(storage: UntypedStorage, start: int, spec: TensorSpec) -> Tensor:
    offset = start // spec.dtype.itemsize
    stride = _contiguous_stride(spec.shape)
    return torch.empty(0, dtype=spec.dtype).set_(storage, offset, spec.shape, stride)  # pyright: ignore[reportArgumentType]


def _contiguous_stride(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[dim + 1 :].numel() for dim in range(len(shape)))
