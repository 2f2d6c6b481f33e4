"""Chooses the build of PyTorch for a machine by a table of builds.

The table holds what the wheels of PyTorch 2.13 were built for (PyTorch's RELEASE.md, CUDA support
matrix; PYTORCH_ROCM_ARCH of its wheel builds; "Getting Started on Intel GPU") and the drivers that
NVIDIA's minor version compatibility requires: 525 for CUDA 12.x, 580 for CUDA 13.x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.core.errors import Unsupported
from modules.launch.hardware import Hardware, NvidiaGpu

TORCH_VERSION = "2.13.0"
INDEX_URL = "https://download.pytorch.org/whl/"
ROCM_TARGETS = (
    "gfx900",
    "gfx906",
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1030",
    "gfx1100",
    "gfx1101",
    "gfx1102",
    "gfx1103",
    "gfx1150",
    "gfx1151",
    "gfx1200",
    "gfx1201",
)


@dataclass(frozen=True)
class TorchBuild:
    """One build of PyTorch.

    Args:
        name: The wheel's local version; empty for the build on PyPI.
        label: Name in messages.
        device: Its torch device: "cuda" (ROCm, too), "xpu", "mps" or "cpu".
        platforms: "system/machine" for which it exists.
        min_driver_version: Oldest NVIDIA driver.
        capability_range: Lowest and highest compute capability for which it has code.
        index_url: Package index to download it from; empty for PyPI.
        has_index_only_dependencies: Whether it depends on packages that only its index has.
    """

    name: str
    label: str
    device: str
    platforms: tuple[str, ...]
    min_driver_version: int = 0
    capability_range: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    index_url: str = ""
    has_index_only_dependencies: bool = False

    @property
    def requirement(self) -> str:
        """The requirement for pip; excludes other builds of the same version."""
        return f"torch=={TORCH_VERSION}" + (f"+{self.name}" if self.name else "")


# In order of preference: of several suitable builds the first is chosen.
BUILDS = (
    TorchBuild(
        "cu130",
        "CUDA 13.0",
        "cuda",
        ("Linux/x86_64", "Windows/x86_64"),
        min_driver_version=580,
        capability_range=((7, 5), (12, 9)),
        index_url=INDEX_URL + "cu130",
        has_index_only_dependencies=True,
    ),
    TorchBuild(
        "cu130",
        "CUDA 13.0",
        "cuda",
        ("Linux/arm64",),
        min_driver_version=580,
        capability_range=((8, 0), (12, 9)),
        index_url=INDEX_URL + "cu130",
        has_index_only_dependencies=True,
    ),
    TorchBuild(
        "cu126",
        "CUDA 12.6",
        "cuda",
        ("Linux/x86_64", "Windows/x86_64"),
        min_driver_version=525,
        capability_range=((5, 0), (9, 0)),
        index_url=INDEX_URL + "cu126",
        has_index_only_dependencies=True,
    ),
    TorchBuild(
        "cu126",
        "CUDA 12.6",
        "cuda",
        ("Linux/arm64",),
        min_driver_version=525,
        capability_range=((8, 0), (9, 0)),
        index_url=INDEX_URL + "cu126",
        has_index_only_dependencies=True,
    ),
    TorchBuild(
        "rocm7.2",
        "ROCm 7.2",
        "cuda",
        ("Linux/x86_64",),
        index_url=INDEX_URL + "rocm7.2",
        has_index_only_dependencies=True,
    ),
    TorchBuild(
        "xpu",
        "Intel XPU",
        "xpu",
        ("Linux/x86_64", "Windows/x86_64"),
        index_url=INDEX_URL + "xpu",
        has_index_only_dependencies=True,
    ),
    TorchBuild("", "Apple MPS", "mps", ("Darwin/arm64",)),
    TorchBuild("", "CPU", "cpu", ("Windows/x86_64",)),
    TorchBuild(
        "cpu",
        "CPU",
        "cpu",
        ("Linux/x86_64", "Linux/arm64"),
        index_url=INDEX_URL + "cpu",
    ),
)


@dataclass(frozen=True)
class BuildChoice:
    """A build and why it was chosen.

    Args:
        build: The row of BUILDS.
        reason: For the log.
        warning: Sentence for the user, who can act on it; empty when all is well.
    """

    build: TorchBuild
    reason: str
    warning: str = ""


def choose_build(hardware: Hardware, builds: Sequence[TorchBuild] = BUILDS) -> BuildChoice:
    """Return the build for a machine.

    Args:
        hardware: The machine.
        builds: All builds, in order of preference.

    Raises:
        Unsupported: there is no PyTorch for this system at all.
    """
    _check_system(hardware)
    rows = [row for row in builds if f"{hardware.system}/{hardware.machine}" in row.platforms]
    if not rows:
        if (hardware.system, hardware.machine) == ("Windows", "arm64"):
            raise Unsupported(
                "There is no OpenCV for Python on Windows for ARM64.",
                "Install Python for x86-64, which Windows runs on ARM64 too, and name it in PYTHON.",
            )
        raise Unsupported(
            f"There is no PyTorch {TORCH_VERSION} for {hardware.system} on {hardware.machine}.",
            "Linux on x86-64 or ARM64, Windows on x86-64 and macOS on Apple Silicon can run the WebUI.",
        )
    if hardware.nvidia_gpus:
        return _choose_for_nvidia(rows, hardware.nvidia_gpus)
    by_label = {row.label: row for row in rows}
    if "Apple MPS" in by_label:
        return BuildChoice(by_label["Apple MPS"], "this is Apple Silicon")
    supported = [target for target in hardware.amd_targets if target in ROCM_TARGETS]
    if supported and "ROCm 7.2" in by_label:
        return BuildChoice(by_label["ROCm 7.2"], f"the AMD driver reports {supported[0]}")
    if hardware.intel_gpu and "Intel XPU" in by_label:
        return BuildChoice(by_label["Intel XPU"], f"{hardware.intel_gpu} is supported by PyTorch")
    return _choose_cpu(rows, _no_gpu_reason(hardware))


def cpu_build(hardware: Hardware) -> TorchBuild:
    """Return the build without a GPU, for when another one cannot be used."""
    return next(
        row
        for row in BUILDS
        if row.device in ("cpu", "mps") and f"{hardware.system}/{hardware.machine}" in row.platforms
    )


def _check_system(hardware: Hardware) -> None:
    if hardware.system != "Darwin":
        return
    if hardware.machine == "x86_64":
        raise Unsupported(
            f"PyTorch {TORCH_VERSION} does not exist for Macs with Intel processors.",
            "On Apple Silicon this Python runs under Rosetta: install a native one with: "
            "/opt/homebrew/bin/brew install python@3.12",
        )
    if hardware.macos < (14, 0):
        raise Unsupported(
            f"PyTorch {TORCH_VERSION} needs macOS 14; this is macOS {hardware.macos[0]}.",
            "Update macOS in System Settings, General, Software Update.",
        )


def _choose_for_nvidia(rows: list[TorchBuild], gpus: tuple[NvidiaGpu, ...]) -> BuildChoice:
    cuda = [row for row in rows if row.min_driver_version]
    supporting_all = [row for row in cuda if all(_supports(row, gpu) for gpu in gpus)]
    supporting_some = [row for row in cuda if any(_supports(row, gpu) for gpu in gpus)]
    if not supporting_some:
        return _choose_cpu(rows, _no_cuda_reason(cuda, gpus[0]))
    row = (supporting_all or supporting_some)[0]
    first = next(gpu for gpu in gpus if _supports(row, gpu))
    reason = (
        f"{first.name} has compute capability {first.capability[0]}.{first.capability[1]} "
        f"and NVIDIA driver {first.driver_version}"
    )
    unsupported = [gpu.name for gpu in gpus if not _supports(row, gpu)]
    warning = f"{', '.join(unsupported)} cannot be used by this build." if unsupported else ""
    return BuildChoice(row, reason, warning)


def _supports(row: TorchBuild, gpu: NvidiaGpu) -> bool:
    lowest, highest = row.capability_range
    return gpu.driver_version >= row.min_driver_version and lowest <= gpu.capability <= highest


def _no_cuda_reason(rows: list[TorchBuild], gpu: NvidiaGpu) -> str:
    capability = gpu.capability
    compatible = [
        row for row in rows if row.capability_range[0] <= capability <= row.capability_range[1]
    ]
    if capability == (0, 0):
        compatible = rows
    if compatible:
        required = min(row.min_driver_version for row in compatible)
        return (
            f"{gpu.name} needs NVIDIA driver {required} or newer, and this is {gpu.driver_version}: "
            "update the driver and start once with --reinstall-torch"
        )
    return (
        f"{gpu.name} has compute capability {capability[0]}.{capability[1]}, "
        f"which PyTorch {TORCH_VERSION} does not support"
    )


def _no_gpu_reason(hardware: Hardware) -> str:
    if hardware.driver_error:
        return hardware.driver_error
    if hardware.amd_targets:
        return f"PyTorch {TORCH_VERSION} does not support the AMD GPU {hardware.amd_targets[0]}"
    return "no GPU that PyTorch can use was found"


def _choose_cpu(rows: list[TorchBuild], reason: str) -> BuildChoice:
    row = next(row for row in rows if row.device == "cpu")
    return BuildChoice(row, reason, f"Pictures are made on the CPU, slowly: {reason}.")
