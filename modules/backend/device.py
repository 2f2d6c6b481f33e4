"""Chooses the device and its precisions from one table."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from modules.backend.components import Precision
from modules.core.errors import UserError
from modules.params.device_options import DeviceOptions

# The text encoder is small and the VAE overflows in half precision on some files, so the VAE is always float32.
FP32 = Precision(torch.float32, torch.float32, torch.float32)
FP16 = Precision(torch.float16, torch.float32, torch.float16)
BF16 = Precision(torch.bfloat16, torch.float32, torch.bfloat16)
# A model with more bytes in 32-bit floats is large: SD 2.x has 5e9, SDXL 14e9. Not by the memory that is free, so that
# the same request gives the same picture.
LARGE_MODEL_BYTES = 8e9
_NUMBERED = ("cuda", "xpu")  # kinds of which a computer can have several


@dataclass(frozen=True)
class Device:
    """A chosen device.

    Args:
        torch_device: Where tensors live.
        label: Its display name.
        precisions: The first is used; each next one is the retry when the one before overflows.
        warning: A permanent notice for the page's header, or an empty string.
        free_bytes: Returns the free memory of the device; None for one that shares the computer's.
        large_precisions: As `precisions`, for a model with many weights; see `LARGE_MODEL_BYTES`.
    """

    torch_device: torch.device
    label: str
    precisions: tuple[Precision, ...]
    warning: str = ""
    free_bytes: Callable[[], int | None] = lambda: None
    large_precisions: tuple[Precision, ...] = ()

    @property
    def half_precisions(self) -> tuple[Precision, ...]:
        """Return the precisions that begin with one of 16 bits; none if the device has no such one or may not use it."""
        for precisions in (self.precisions, self.large_precisions):
            if precisions and precisions[0].unet.itemsize < FP32.unet.itemsize:
                return precisions
        return ()

    def precisions_for(self, weight_count: int) -> tuple[Precision, ...]:
        """Return the precisions of a model with so many weights, where the options leave the choice to the device."""
        is_large = weight_count * FP32.unet.itemsize > LARGE_MODEL_BYTES
        return self.large_precisions if is_large and self.large_precisions else self.precisions


@dataclass(frozen=True)
class DeviceType:
    """One kind of device: how it is detected and named, its precisions, its free memory, and how many there are."""

    kind: str
    is_available: Callable[[], bool]
    label: Callable[[int], str]
    precisions: Callable[[int], tuple[Precision, ...]]
    free_bytes: Callable[[int], int | None] = lambda _: None
    large_precisions: Callable[[], tuple[Precision, ...]] = tuple
    count: Callable[[], int] = lambda: 1


def _cuda_precisions(index: int) -> tuple[Precision, ...]:
    if "GTX 16" in torch.cuda.get_device_name(index):
        return (FP32,)  # these cards give black pictures in half precision (A1111 issue 130)
    if torch.cuda.get_device_capability(index)[0] < 8:
        return (FP16, FP32)  # no bfloat16 before Ampere
    return (FP16, BF16, FP32)


def _large_cpu_precisions() -> tuple[Precision, ...]:
    """Return bf16 before fp32 where the processor computes in it; emulated it is slower than fp32."""
    return (BF16, FP32) if _cpu_has_bf16() else (FP32,)


def _cpu_has_bf16() -> bool:
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def preview_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype of small networks whose images are only looked at for a moment: 16 bits where they are fast."""
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bf16() else torch.float32
    return torch.float16


# In order of preference.
DEVICES: tuple[DeviceType, ...] = (
    DeviceType(
        "cuda",
        torch.cuda.is_available,
        torch.cuda.get_device_name,
        _cuda_precisions,
        lambda index: torch.cuda.mem_get_info(index)[0],
        count=torch.cuda.device_count,
    ),
    DeviceType(
        "xpu",
        lambda: torch.xpu.is_available(),
        lambda index: torch.xpu.get_device_name(index),
        lambda _: (FP16, BF16, FP32),
        lambda index: torch.xpu.mem_get_info(index)[0],
        count=lambda: torch.xpu.device_count(),
    ),
    DeviceType(
        "mps",
        lambda: torch.backends.mps.is_available(),
        lambda _: "Apple GPU",
        lambda _: (FP16, FP32),
    ),
    DeviceType(
        "cpu",
        lambda: True,
        lambda _: _cpu_label(),
        lambda _: (FP32,),
        large_precisions=_large_cpu_precisions,
    ),
)


def choose_device(options: DeviceOptions, devices: Sequence[DeviceType] = DEVICES) -> Device:
    """Return the first device of the table that is available and allowed; the last one is the CPU.

    Raises:
        UserError: the device that the options name does not exist.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.kind:
        row = _find_named(options, devices)
    elif options.use_cpu or options.cpu_fallback_reason:
        row = devices[-1]
    else:
        row = next(row for row in devices if row.is_available())
    torch_device = (
        torch.device(row.kind, options.index) if row.kind in _NUMBERED else torch.device(row.kind)
    )
    precisions, large_precisions = row.precisions(options.index), row.large_precisions()
    if options.full_precision:
        precisions = large_precisions = (FP32,)
    return Device(
        torch_device,
        row.label(options.index),
        precisions,
        _warning(row.kind, options),
        partial(row.free_bytes, options.index),
        large_precisions,
    )


def _find_named(options: DeviceOptions, devices: Sequence[DeviceType]) -> DeviceType:
    """Return the row of a device that the options name.

    Raises:
        UserError: there is no such device.
    """
    for row in devices:
        is_named = row.kind == options.kind or (options.kind == "gpu" and row.kind != "cpu")
        if is_named and row.is_available() and options.index < row.count():
            return row
    known = [
        f"{row.kind}:{index}" if row.kind in _NUMBERED else row.kind
        for row in devices
        if row.is_available()
        for index in range(row.count())
    ]
    name = f"{options.kind}:{options.index}" if options.kind in _NUMBERED else options.kind
    raise UserError(
        f"There is no device {name} on {platform.node()}.", f"PyTorch finds {', '.join(known)}."
    )


def _warning(kind: str, options: DeviceOptions) -> str:
    if kind != "cpu" or options.use_cpu or options.kind:
        return ""
    return (
        options.cpu_fallback_reason
        or "Pictures are made on the CPU, slowly: no supported GPU was found."
    )


def _cpu_label() -> str:
    count = torch.get_num_threads()
    return f"CPU ({platform.machine()}, {count} {'thread' if count == 1 else 'threads'})"


# Pools of `torch.cuda.memory_stats`, by A1111's names.
_POOLS = {
    "active": "active_bytes",
    "allocated": "allocated_bytes",
    "reserved": "reserved_bytes",
    "inactive": "inactive_split_bytes",
}


def memory_stats(device: torch.device) -> dict[str, Any]:
    """Return bytes by pool, or `error` with the reason why there are none."""
    if device.type != "cuda":
        return {"error": f"The device is {device.type}, which reports no memory of its own."}
    free, total = torch.cuda.mem_get_info(device)
    stats = torch.cuda.memory_stats(device)
    pools = {
        name: {key: int(stats.get(f"{pool}.all.{key}", 0)) for key in ("current", "peak")}
        for name, pool in _POOLS.items()
    }
    return {
        "system": {"free": free, "used": total - free, "total": total},
        **pools,
        "events": {
            "retries": int(stats.get("num_alloc_retries", 0)),
            "oom": int(stats.get("num_ooms", 0)),
        },
    }
