"""Which device computes, in which precision, and why: one table."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from modules.backend.loader import Precision
from modules.params.device import DeviceOptions

# The text encoder is small and the VAE overflows in half precision on some files, so the VAE is always float32.
FP32 = Precision(torch.float32, torch.float32, torch.float32)
FP16 = Precision(torch.float16, torch.float32, torch.float16)
BF16 = Precision(torch.bfloat16, torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Device:
    """A chosen device.

    Args:
        torch_device: Where tensors live.
        label: Its name for people.
        tiers: Precisions to use, each the retry of the one before when numbers overflow.
        warning: A lasting remark for the page's header, or an empty string.
    """

    torch_device: torch.device
    label: str
    tiers: tuple[Precision, ...]
    warning: str = ""


@dataclass(frozen=True)
class DeviceRow:
    """One kind of device: how it is found, named and in which precisions it computes."""

    kind: str
    is_there: Callable[[], bool]
    label: Callable[[int], str]
    tiers: Callable[[int], tuple[Precision, ...]]


def _cuda_tiers(index: int) -> tuple[Precision, ...]:
    if "GTX 16" in torch.cuda.get_device_name(index):
        return (FP32,)  # these cards give black pictures in half precision (A1111 issue 130)
    if torch.cuda.get_device_capability(index)[0] < 8:
        return (FP16, FP32)  # no bfloat16 before Ampere
    return (FP16, BF16, FP32)


# In order of preference.
DEVICES: tuple[DeviceRow, ...] = (
    DeviceRow("cuda", torch.cuda.is_available, torch.cuda.get_device_name, _cuda_tiers),
    DeviceRow(
        "xpu",
        lambda: torch.xpu.is_available(),
        lambda index: torch.xpu.get_device_name(index),
        lambda _: (FP16, BF16, FP32),
    ),
    DeviceRow(
        "mps",
        lambda: torch.backends.mps.is_available(),
        lambda _: "Apple GPU",
        lambda _: (FP16, FP32),
    ),
    DeviceRow("cpu", lambda: True, lambda _: _cpu_label(), lambda _: (FP32,)),
)


def choose(options: DeviceOptions) -> Device:
    """Return the first device of the table that is there and allowed."""
    if options.use_cpu or options.cpu_fallback_reason:
        row = DEVICES[-1]
    else:
        row = next(row for row in DEVICES if row.is_there())
    place = (
        torch.device(row.kind, options.index)
        if row.kind in ("cuda", "xpu")
        else torch.device(row.kind)
    )
    tiers = (FP32,) if options.full_precision else row.tiers(options.index)
    return Device(place, row.label(options.index), tiers, _warning(row.kind, options))


def _warning(kind: str, options: DeviceOptions) -> str:
    if kind != "cpu" or options.use_cpu:
        return ""
    return (
        options.cpu_fallback_reason
        or "Pictures are made on the CPU, slowly: no supported GPU was found."
    )


def _cpu_label() -> str:
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
