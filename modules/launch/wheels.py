"""Which build of PyTorch suits a machine: one table, and the rules for reading it.

The table holds what the wheels of PyTorch 2.13 were built for (PyTorch's RELEASE.md, CUDA support
matrix; PYTORCH_ROCM_ARCH of its wheel builds; "Getting Started on Intel GPU") and the drivers that
NVIDIA's minor version compatibility asks for: 525 for CUDA 12.x, 580 for CUDA 13.x.
"""

from __future__ import annotations

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
        label: Name for people.
        device: What it computes on: "cuda" (ROCm, too), "xpu", "mps" or "cpu".
        platforms: "system/machine" that it exists for.
        min_driver_version: Oldest NVIDIA driver.
        capability_range: Lowest and highest compute capability it has code for.
        index_url: Where it is downloaded from; empty for PyPI.
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
        """What pip is asked for; never open to another build of the same version."""
        return f"torch=={TORCH_VERSION}" + (f"+{self.name}" if self.name else "")


# Order is preference. Where two suit, the first wins.
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
        ("Linux/x86_64", "Linux/arm64", "Windows/arm64"),
        index_url=INDEX_URL + "cpu",
    ),
)


@dataclass(frozen=True)
class BuildChoice:
    """A build and why it was chosen.

    Args:
        build: The row of BUILDS.
        reason: For the log.
        warning: What the user should know and can act on; empty when all is well.
    """

    build: TorchBuild
    reason: str
    warning: str = ""


def choose_build(hardware: Hardware) -> BuildChoice:
    """Return the build for a machine.

    Raises:
        Unsupported: there is no PyTorch for this system at all.
    """
    _check_system(hardware)
    rows = [row for row in BUILDS if f"{hardware.system}/{hardware.machine}" in row.platforms]
    if not rows:
        raise Unsupported(
            f"There is no PyTorch {TORCH_VERSION} for {hardware.system} on {hardware.machine}.",
            "Linux and Windows on x86-64 or ARM64 and macOS on Apple Silicon can run the WebUI.",
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
    return _choose_cpu(rows, _why_no_gpu(hardware))


def cpu_build(hardware: Hardware) -> TorchBuild:
    """Return the build without any GPU, for when another one cannot be used."""
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
            "On Apple Silicon this Python runs translated: install a native one with: "
            "/opt/homebrew/bin/brew install python@3.12",
        )
    if hardware.macos < (14, 0):
        raise Unsupported(
            f"PyTorch {TORCH_VERSION} needs macOS 14; this is macOS {hardware.macos[0]}.",
            "Update macOS in System Settings, General, Software Update.",
        )


def _choose_for_nvidia(rows: list[TorchBuild], cards: tuple[NvidiaGpu, ...]) -> BuildChoice:
    cuda = [row for row in rows if row.min_driver_version]
    runs_all = [row for row in cuda if all(_can_run(row, card) for card in cards)]
    runs_some = [row for row in cuda if any(_can_run(row, card) for card in cards)]
    if not runs_some:
        return _choose_cpu(rows, _why_no_cuda(cuda, cards[0]))
    row = (runs_all or runs_some)[0]
    first = next(card for card in cards if _can_run(row, card))
    reason = (
        f"{first.name} has compute capability {first.capability[0]}.{first.capability[1]} "
        f"and NVIDIA driver {first.driver_version}"
    )
    left_out = [card.name for card in cards if not _can_run(row, card)]
    warning = f"{', '.join(left_out)} cannot be used by this build." if left_out else ""
    return BuildChoice(row, reason, warning)


def _can_run(row: TorchBuild, card: NvidiaGpu) -> bool:
    lowest, highest = row.capability_range
    return card.driver_version >= row.min_driver_version and lowest <= card.capability <= highest


def _why_no_cuda(rows: list[TorchBuild], card: NvidiaGpu) -> str:
    capability = card.capability
    suited = [
        row for row in rows if row.capability_range[0] <= capability <= row.capability_range[1]
    ]
    if capability == (0, 0):
        suited = rows
    if suited:
        needed = min(row.min_driver_version for row in suited)
        return (
            f"{card.name} needs NVIDIA driver {needed} or newer, and this is {card.driver_version}: "
            "update the driver and start once with --reinstall-torch"
        )
    return (
        f"{card.name} has compute capability {capability[0]}.{capability[1]}, "
        f"which PyTorch {TORCH_VERSION} has no code for"
    )


def _why_no_gpu(hardware: Hardware) -> str:
    if hardware.driver_error:
        return hardware.driver_error
    if hardware.amd_targets:
        return f"PyTorch {TORCH_VERSION} has no code for the AMD GPU {hardware.amd_targets[0]}"
    return "no GPU that PyTorch can use was found"


def _choose_cpu(rows: list[TorchBuild], why: str) -> BuildChoice:
    row = next(row for row in rows if row.device == "cpu")
    return BuildChoice(row, why, f"Pictures are made on the CPU, slowly: {why}.")
