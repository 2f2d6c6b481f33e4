"""Puts a file's tensors where a network computes with them: converted, moved and laid out in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from modules.backend.arena import Form, allocate
from modules.backend.weights import aligned, is_aligned


def placed(
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    device: torch.device,
    on_copied: Callable[[int], None],
) -> list[Tensor]:
    """Return each tensor itself where it is right as it is, else a copy; the copies lie in one stretch of memory.

    Args:
        weights: On the CPU, of any dtype, or on `meta`.
        dtype: Wanted.
        device: Wanted.
        on_copied: Called with the number of each tensor that is needed no more.
    """
    settled = list(weights)
    if weights and weights[0].is_meta:
        return [weight.to(dtype) for weight in weights]
    todo = [number for number, weight in enumerate(weights) if not _is_right(weight, dtype, device)]
    if device.type != "cpu":
        for number in todo:
            settled[number] = aligned(weights[number]).to(device, dtype)
            on_copied(number)
        return settled
    # From the file's beginning to its end: in no other order is a disk as fast.
    todo.sort(key=lambda number: weights[number].data_ptr())
    copies = allocate(Form(weights[n].shape, dtype, _is_kernel(weights[n], dtype)) for n in todo)
    for number, copy in zip(todo, copies, strict=True):
        settled[number] = copy.copy_(aligned(weights[number]))
        on_copied(number)
    return settled


def _is_right(weight: Tensor, dtype: torch.dtype, device: torch.device) -> bool:
    if weight.dtype != dtype or weight.device != device or not is_aligned(weight):
        return False
    return device.type != "cpu" or not _is_kernel(weight, dtype)


def _is_kernel(weight: Tensor, dtype: torch.dtype) -> bool:
    """Return whether it is a convolution's: in float32 a twentieth faster on the processor with channels last."""
    return weight.ndim == 4 and weight.shape[2:] != (1, 1) and dtype == torch.float32
