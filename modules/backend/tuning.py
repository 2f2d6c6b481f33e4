"""TUNINGS: how each kind of device computes, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

V = TypeVar("V")
_CONTIGUOUS = (
    "the layout in which the weights are read, and nobody has measured a gain of another here"
)


@dataclass(frozen=True)
class Choice(Generic[V]):
    """A value, and why it is that one."""

    value: V
    reason: str


@dataclass(frozen=True)
class Tuning:
    """One row of TUNINGS.

    Args:
        kind: The device's, as torch has it.
        channels_last: Whether the kernels of convolutions lie with their channels innermost.
        tf32: Whether products of 32-bit floats may round their factors to 10 bits while the UNet computes in 16.
        cudnn_benchmark: Whether cuDNN tries its algorithms out for each new size.
        attention: What PyTorch's own attention computes with.
        cuda_graphs: Whether a compiled network replays recorded launches.
        overlap: Whether images are decoded while the next batch is sampled.
    """

    kind: str
    channels_last: Choice[bool]
    tf32: Choice[bool]
    cudnn_benchmark: Choice[bool]
    attention: Choice[str]
    cuda_graphs: Choice[bool]
    overlap: Choice[bool]


_NO_TF32 = Choice(False, "the device has no such type")
_NO_CUDNN = Choice(False, "the device has no cuDNN")
_NO_GRAPHS = Choice(False, "the device has no CUDA graphs")
_NO_OVERLAP = Choice(False, "the device is busy with one thing at a time")

TUNINGS: tuple[Tuning, ...] = (
    Tuning(
        "cuda",
        channels_last=Choice(
            True,
            "tensor cores multiply in this layout; with the other one cuDNN transposes what goes in and what comes out",
        ),
        tf32=Choice(
            True,
            "the VAE computes in 32 bits for their range, not their digits: rounded to 10 bits its products take tensor"
            " cores and have what 16 bits would have; a UNet in 32 bits, as Full asks for, is exact",
        ),
        cudnn_benchmark=Choice(
            False,
            "the algorithm that wins a trial changes from start to start, and with it the last digits of a picture;"
            " every new size would cost a second and memory for the trial",
        ),
        attention=Choice(
            "PyTorch's choice",
            "its order (flash, memory-efficient, cuDNN where it is faster, math) follows card, dtype and head width",
        ),
        cuda_graphs=Choice(
            False,
            "a graph is recorded for each size, prompt length and place of the weights, keeps its memory, and block by"
            " block saves little; tools/gpu_check.py measures them",
        ),
        overlap=Choice(
            True,
            "a decode leaves much of a card idle at its small sizes, and so does a step of one picture",
        ),
    ),
    Tuning(
        "xpu",
        channels_last=Choice(False, _CONTIGUOUS),
        tf32=_NO_TF32,
        cudnn_benchmark=_NO_CUDNN,
        attention=Choice("PyTorch's choice", "oneDNN's, or math"),
        cuda_graphs=_NO_GRAPHS,
        overlap=_NO_OVERLAP,
    ),
    Tuning(
        "mps",
        channels_last=Choice(False, _CONTIGUOUS),
        tf32=_NO_TF32,
        cudnn_benchmark=_NO_CUDNN,
        attention=Choice("PyTorch's choice", "Metal's, or math"),
        cuda_graphs=_NO_GRAPHS,
        overlap=_NO_OVERLAP,
    ),
    Tuning(
        "cpu",
        channels_last=Choice(
            False,
            "in 32 bits it gains nothing on processors of today (measured 5.53 s against 5.09), and norms lose digits in it",
        ),
        tf32=_NO_TF32,
        cudnn_benchmark=_NO_CUDNN,
        attention=Choice(
            "PyTorch's choice", "its flash kernel for processors, which sums in 32 bits"
        ),
        cuda_graphs=_NO_GRAPHS,
        overlap=_NO_OVERLAP,
    ),
)


def find_tuning(device: torch.device, tunings: Sequence[Tuning] = TUNINGS) -> Tuning:
    """Return the row of a device; one that has none is taken for a processor."""
    return next((row for row in tunings if row.kind == device.type), tunings[-1])


def lay_out(network: nn.Module, device: torch.device, tunings: Sequence[Tuning] = TUNINGS) -> None:
    """Lay the kernels of a network's convolutions out as a device computes with them; their values stay.

    Args:
        network: Loaded.
        device: Where it computes.
        tunings: All rows.
    """
    if not find_tuning(device, tunings).channels_last.value:
        return
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportArgumentType] - documented


@contextmanager
def use_tuning(
    device: torch.device, unet_dtype: torch.dtype, tunings: Sequence[Tuning] = TUNINGS
) -> Iterator[None]:
    """Set the switches of PyTorch's libraries for the time of a pass.

    Args:
        device: Where the networks compute.
        unet_dtype: Of the UNet.
        tunings: All rows.
    """
    row = find_tuning(device, tunings)
    if row.kind != "cuda":
        yield
        return
    is_half = unet_dtype.itemsize < torch.float32.itemsize
    precision = "tf32" if row.tf32.value and is_half else "ieee"
    # Any: torch declares no types for these.
    conv: Any = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    matmul: Any = torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision, torch.backends.cudnn.benchmark
    try:
        conv.fp32_precision = matmul.fp32_precision = precision
        torch.backends.cudnn.benchmark = row.cudnn_benchmark.value
        yield
    finally:
        conv.fp32_precision, matmul.fp32_precision, torch.backends.cudnn.benchmark = before
