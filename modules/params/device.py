"""What the command line says about the device, in words that need no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceOptions:
    """How a device is to be chosen.

    Args:
        use_cpu: Compute on the CPU even if a graphics card is there.
        full_precision: Use 32-bit floats throughout.
        index: Number of the graphics card.
        cpu_fallback_reason: The set-up's sentence on why it chose the CPU; empty when it chose a graphics card.
    """

    use_cpu: bool = False
    full_precision: bool = False
    index: int = 0
    cpu_fallback_reason: str = ""
