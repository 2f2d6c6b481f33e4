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
        kind: The kind of device that it must be, such as "cuda", or "gpu" for any but the CPU; "" for the best there is.
        threads: How many threads compute on the CPU; 0 leaves it to PyTorch.
    """

    use_cpu: bool = False
    full_precision: bool = False
    index: int = 0
    cpu_fallback_reason: str = ""
    kind: str = ""
    threads: int = 0
