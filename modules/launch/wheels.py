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
INDEX = "https://download.pytorch.org/whl/"
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
class Build:
    """One build of PyTorch.

    Args:
        name: The wheel's local version; empty for the build on PyPI.
        label: Name for people.
        device: What it computes on: "cuda" (ROCm, too), "xpu", "mps" or "cpu".
        systems: "system/machine" that it exists for.
        driver: Oldest NVIDIA driver.
        capability: Lowest and highest compute capability it has code for.
        index: Where it is downloaded from; empty for PyPI.
        brings_own: Whether it depends on packages that only its index has.
    """

    name: str
    label: str
    device: str
    systems: tuple[str, ...]
    driver: int = 0
    capability: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    index: str = ""
    brings_own: bool = False

    @property
    def requirement(self) -> str:
        """What pip is asked for; never open to another build of the same version."""
        return f"torch=={TORCH_VERSION}" + (f"+{self.name}" if self.name else "")


# Order is preference. Where two suit, the first wins.
BUILDS = (
    Build(
        "cu130",
        "CUDA 13.0",
        "cuda",
        ("Linux/x86_64", "Windows/x86_64"),
        driver=580,
        capability=((7, 5), (12, 9)),
        index=INDEX + "cu130",
        brings_own=True,
    ),
    Build(
        "cu130",
        "CUDA 13.0",
        "cuda",
        ("Linux/arm64",),
        driver=580,
        capability=((8, 0), (12, 9)),
        index=INDEX + "cu130",
        brings_own=True,
    ),
    Build(
        "cu126",
        "CUDA 12.6",
        "cuda",
        ("Linux/x86_64", "Windows/x86_64"),
        driver=525,
        capability=((5, 0), (9, 0)),
        index=INDEX + "cu126",
        brings_own=True,
    ),
    Build(
        "cu126",
        "CUDA 12.6",
        "cuda",
        ("Linux/arm64",),
        driver=525,
        capability=((8, 0), (9, 0)),
        index=INDEX + "cu126",
        brings_own=True,
    ),
    Build(
        "rocm7.2",
        "ROCm 7.2",
        "cuda",
        ("Linux/x86_64",),
        index=INDEX + "rocm7.2",
        brings_own=True,
    ),
    Build(
        "xpu",
        "Intel XPU",
        "xpu",
        ("Linux/x86_64", "Windows/x86_64"),
        index=INDEX + "xpu",
        brings_own=True,
    ),
    Build("", "Apple MPS", "mps", ("Darwin/arm64",)),
    Build("", "CPU", "cpu", ("Windows/x86_64",)),
    Build(
        "cpu",
        "CPU",
        "cpu",
        ("Linux/x86_64", "Linux/arm64", "Windows/arm64"),
        index=INDEX + "cpu",
    ),
)


@dataclass(frozen=True)
class Choice:
    """A build and why it was chosen.

    Args:
        build: The row of BUILDS.
        reason: For the log.
        warning: What the user should know and can act on; empty when all is well.
    """

    build: Build
    reason: str
    warning: str = ""


def choose(hardware: Hardware) -> Choice:
    """Return the build for a machine.

    Raises:
        Unsupported: there is no PyTorch for this system at all.
    """
    _check_system(hardware)
    rows = [row for row in BUILDS if f"{hardware.system}/{hardware.machine}" in row.systems]
    if not rows:
        raise Unsupported(
            f"There is no PyTorch {TORCH_VERSION} for {hardware.system} on {hardware.machine}.",
            "Linux and Windows on x86-64 or ARM64 and macOS on Apple Silicon can run the WebUI.",
        )
    if hardware.nvidia:
        return _choose_for_nvidia(rows, hardware.nvidia)
    by_label = {row.label: row for row in rows}
    if "Apple MPS" in by_label:
        return Choice(by_label["Apple MPS"], "this is Apple Silicon")
    supported = [target for target in hardware.amd if target in ROCM_TARGETS]
    if supported and "ROCm 7.2" in by_label:
        return Choice(by_label["ROCm 7.2"], f"the AMD driver reports {supported[0]}")
    if hardware.intel and "Intel XPU" in by_label:
        return Choice(by_label["Intel XPU"], f"{hardware.intel} is supported by PyTorch")
    return _choose_cpu(rows, _why_no_gpu(hardware))


def cpu_build(hardware: Hardware) -> Build:
    """Return the build without any GPU, for when another one cannot be used."""
    return next(
        row
        for row in BUILDS
        if row.device in ("cpu", "mps") and f"{hardware.system}/{hardware.machine}" in row.systems
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


def _choose_for_nvidia(rows: list[Build], cards: tuple[NvidiaGpu, ...]) -> Choice:
    cuda = [row for row in rows if row.driver]
    runs_all = [row for row in cuda if all(_can_run(row, card) for card in cards)]
    runs_some = [row for row in cuda if any(_can_run(row, card) for card in cards)]
    if not runs_some:
        return _choose_cpu(rows, _why_no_cuda(cuda, cards[0]))
    row = (runs_all or runs_some)[0]
    first = next(card for card in cards if _can_run(row, card))
    reason = (
        f"{first.name} has compute capability {first.capability[0]}.{first.capability[1]} "
        f"and NVIDIA driver {first.driver}"
    )
    left_out = [card.name for card in cards if not _can_run(row, card)]
    warning = f"{', '.join(left_out)} cannot be used by this build." if left_out else ""
    return Choice(row, reason, warning)


def _can_run(row: Build, card: NvidiaGpu) -> bool:
    lowest, highest = row.capability
    return card.driver >= row.driver and lowest <= card.capability <= highest


def _why_no_cuda(rows: list[Build], card: NvidiaGpu) -> str:
    capability = card.capability
    suited = [row for row in rows if row.capability[0] <= capability <= row.capability[1]]
    if capability == (0, 0):
        suited = rows
    if suited:
        needed = min(row.driver for row in suited)
        return (
            f"{card.name} needs NVIDIA driver {needed} or newer, and this is {card.driver}: "
            "update the driver and start once with --reinstall-torch"
        )
    return (
        f"{card.name} has compute capability {capability[0]}.{capability[1]}, "
        f"which PyTorch {TORCH_VERSION} has no code for"
    )


def _why_no_gpu(hardware: Hardware) -> str:
    if hardware.trouble:
        return hardware.trouble
    if hardware.amd:
        return f"PyTorch {TORCH_VERSION} has no code for the AMD GPU {hardware.amd[0]}"
    return "no GPU that PyTorch can use was found"


def _choose_cpu(rows: list[Build], why: str) -> Choice:
    row = next(row for row in rows if row.device == "cpu")
    return Choice(row, why, f"Pictures are made on the CPU, slowly: {why}.")
