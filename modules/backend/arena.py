"""Memory for many tensors in one stretch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, UntypedStorage

ALIGNMENT = 64  # bytes, as torch's own allocator has it


class Form(NamedTuple):
    """What a tensor will be like; a kernel's numbers can be laid out with channels last."""

    shape: torch.Size
    dtype: torch.dtype
    channels_last: bool = False


def allocate(forms: Iterable[Form]) -> list[Tensor]:
    """Return tensors without content on the CPU, each at an address divisible by ALIGNMENT, all in one stretch.

    The stretch lives as long as the last of them, and then goes back to the system whole.
    """
    forms = list(forms)
    starts, end = [], 0
    for form in forms:
        starts.append(end)
        end += -(-form.shape.numel() * form.dtype.itemsize // ALIGNMENT) * ALIGNMENT
    stretch = torch.empty(end, dtype=torch.uint8).untyped_storage()
    # No MADV_HUGEPAGE: where memory is in pieces, the kernel moves others' pages about first, and that took longer.
    return [_within(stretch, start, form) for start, form in zip(starts, forms, strict=True)]


def _within(stretch: UntypedStorage, start: int, form: Form) -> Tensor:
    place = start // form.dtype.itemsize
    stride = _channels_last(*form.shape) if form.channels_last else _contiguous(form.shape)
    return torch.empty(0, dtype=form.dtype).set_(stretch, place, form.shape, stride)  # pyright: ignore[reportArgumentType]


def _channels_last(_count: int, channels: int, height: int, width: int) -> tuple[int, ...]:
    return (channels * height * width, 1, channels * width, channels)


def _contiguous(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[number + 1 :].numel() for number in range(len(shape)))
