"""Device options from the command line. Knows nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceOptions:
    """How the backend chooses its device.

    Args:
        use_cpu: Use the CPU even if there is a GPU.
        full_precision: Use 32-bit floats throughout.
        index: Index of the GPU.
        cpu_fallback_reason: Sentence from the installer on why it chose the CPU; empty when it chose a GPU.
    """

    use_cpu: bool = False
    full_precision: bool = False
    index: int = 0
    cpu_fallback_reason: str = ""
