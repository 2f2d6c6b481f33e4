"""ATTENTIONS: the ways in which attention can be computed, and what each needs. Knows nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

AttentionName = Literal[
    "Automatic",
    "sdp-no-mem",
    "cuDNN",
    "math",
    "InvokeAI",
    "xformers",
    "Flash Attention",
    "Sage Attention",
]
AUTOMATIC = "Automatic"


@dataclass(frozen=True)
class Attention:
    """One row of ATTENTIONS.

    Args:
        name: As the option has it; A1111's name where it has one.
        reason: Why somebody would choose it.
        package: Has to be importable; "" for what is a part of PyTorch.
        device_kinds: Of torch; none for all.
        is_half_only: Whether it computes in 16 bits alone.
        widest_head: The most channels of a head; None for any number. Wider layers keep PyTorch's own attention.
    """

    name: AttentionName
    reason: str
    package: str = ""
    device_kinds: tuple[str, ...] = ()
    is_half_only: bool = False
    widest_head: int | None = None

    def find_obstacle(self, device_kind: str, *, is_half: bool) -> str:
        """Return why it cannot be used on a device, as the rest of a sentence; "" where it can."""
        if not is_installed(self.package):
            return f"the package {self.package} is not installed"
        if self.device_kinds and device_kind not in self.device_kinds:
            return f"it does not run on the device {device_kind}"
        if self.is_half_only and not is_half:
            return "it computes in 16 bits alone, and this model in 32"
        return ""


# diffusers' own limits; SD 1.x has heads of 40 to 160 channels, SDXL of 64.
ATTENTIONS: tuple[Attention, ...] = (
    Attention(AUTOMATIC, "PyTorch chooses the fastest of its kernels that fits (A1111's sdp)"),
    Attention(
        "sdp-no-mem",
        "PyTorch without the memory-efficient kernel, which adds up in a changing order on some cards",
    ),
    Attention(
        "cuDNN",
        "NVIDIA's kernel, the fastest on Hopper and later",
        device_kinds=("cuda",),
        is_half_only=True,
    ),
    Attention("math", "plain matrix products: slow and large, to compare other kernels with"),
    Attention(
        "InvokeAI",
        "what A1111 computes with on a processor, in its order: for pictures that it made there",
    ),
    Attention(
        "xformers",
        "for cards older than Turing, where PyTorch has no fast kernel",
        "xformers",
        ("cuda",),
    ),
    Attention(
        "Flash Attention",
        "the package can be newer than the copy inside PyTorch",
        "flash_attn",
        ("cuda",),
        is_half_only=True,
        widest_head=256,
    ),
    Attention(
        "Sage Attention",
        "multiplies in 8 bits: faster, with a slightly other picture",
        "sageattention",
        ("cuda",),
        is_half_only=True,
        widest_head=128,
    ),
)
# Values of A1111's option that name kernels of its own; PyTorch's own attention does better in each case.
_A1111_NAMES: Mapping[str, AttentionName] = {
    "sdp-no-mem - scaled dot product without memory efficient attention": "sdp-no-mem",
    **dict.fromkeys(
        ("None", "sdp - scaled dot product", "sub-quadratic", "V1", "Doggettx"), AUTOMATIC
    ),
}


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return not package or find_spec(package) is not None


def find_attention(name: str, attentions: Sequence[Attention] = ATTENTIONS) -> Attention:
    """Return the row of a name."""
    return next(row for row in attentions if row.name == name)


def list_attentions() -> list[str]:
    """Return the names of those whose packages are there."""
    return [row.name for row in ATTENTIONS if is_installed(row.package)]


def read_attention(value: Any) -> Any:
    """Return the name for a value of A1111's option; any other value unchanged. Any: whatever a JSON body holds."""
    return _A1111_NAMES.get(value, value) if isinstance(value, str) else value
