"""Copies between a device and the computer's memory for which nobody waits.

A copy from or to ordinary memory makes the program wait until the device has done all its earlier work. From
and to pinned memory it is one more thing to do in order, and the steps of a run can be given out ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor


def _is_done() -> bool:
    return True


def _wait() -> None:
    pass


@dataclass(frozen=True)
class HostCopy:
    """A copy in the computer's memory, perhaps still on its way.

    Args:
        tensor: The copy; it may be read once it is ready.
        is_ready: Whether it has arrived; never waits.
        wait: Returns when it has arrived.
    """

    tensor: Tensor
    is_ready: Callable[[], bool] = _is_done
    wait: Callable[[], None] = _wait

    def result(self) -> Tensor:
        """Return the copy, once it has arrived."""
        self.wait()
        return self.tensor


CopyStart = Callable[[Tensor], HostCopy]


def _start_cuda_copy(tensor: Tensor) -> HostCopy:
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tensor.device))
    return HostCopy(copy, event.query, event.synchronize)


# By kind of device; on any other a copy is made at once.
COPY_STARTS: Mapping[str, CopyStart] = MappingProxyType({"cuda": _start_cuda_copy})


def start_copy_to_host(tensor: Tensor) -> HostCopy:
    """Return a copy of a tensor in the computer's memory that arrives when the device has computed it."""
    start = COPY_STARTS.get(tensor.device.type)
    return HostCopy(tensor.cpu()) if start is None else start(tensor)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for it; the same one if it is there."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
