"""Detects GPUs by their drivers. Knows nothing of PyTorch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

# GPUs that PyTorch lists as supported: Data Center GPU Max and Flex, Arc A and B, and the Arc
# graphics of Core Ultra (Meteor Lake-H, Arrow Lake-H, Lunar Lake, Panther Lake).
INTEL_PCI_IDS = re.compile(r"0x(0bd|56|e2|7d55|7dd5|7d51|7dd1|64a|64b|b0[89ab])", re.IGNORECASE)
INTEL_NAMES = re.compile(r"Intel.*\bArc\b|Intel.*Data Center GPU", re.IGNORECASE)
PROBE_TIMEOUT_S = 20


@dataclass(frozen=True)
class NvidiaGpu:
    """One GPU as reported by `nvidia-smi`.

    Args:
        name: Product name.
        driver_version: Major version of the driver; 0 when it could not be read.
        capability: CUDA compute capability; (0, 0) when the driver is too old to report it.
    """

    name: str
    driver_version: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Hardware:
    """The facts by which a PyTorch build is chosen.

    Args:
        system: "Linux", "Windows" or "Darwin".
        machine: "x86_64" or "arm64", in the same spelling on every system.
        macos: Version of macOS, (0, 0) elsewhere.
        nvidia_gpus: NVIDIA GPUs in the driver's order.
        amd_targets: Targets of AMD GPUs, such as "gfx1100".
        intel_gpu: Name of an Intel GPU that PyTorch supports, or an empty string.
        driver_error: Error message of a driver's tool.
    """

    system: str
    machine: str
    macos: tuple[int, int] = (0, 0)
    nvidia_gpus: tuple[NvidiaGpu, ...] = ()
    amd_targets: tuple[str, ...] = ()
    intel_gpu: str = ""
    driver_error: str = ""


def probe() -> Hardware:
    """Return the hardware of this machine. Takes up to a few seconds; changes nothing."""
    system = platform.system()
    nvidia_gpus, driver_error = _probe_nvidia()
    return Hardware(
        system=system,
        machine=_python_machine(system),
        macos=_version(platform.mac_ver()[0]) if system == "Darwin" else (0, 0),
        nvidia_gpus=nvidia_gpus,
        amd_targets=_probe_amd() if system == "Linux" else (),
        intel_gpu=_probe_intel(system),
        driver_error=driver_error,
    )


def _python_machine(system: str) -> str:
    """Return the architecture that wheels must have; on Windows for ARM64 a Python for x86-64 runs, too."""
    tag = sysconfig.get_platform().removeprefix("win-")
    return normalize_machine(tag if system == "Windows" else platform.machine())


def normalize_machine(machine: str) -> str:
    """Return the name of a processor architecture as used in this program."""
    lower = machine.lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(lower, lower)


def parse_nvidia_smi(text: str) -> tuple[NvidiaGpu, ...]:
    """Return the GPUs in the lines `name, driver_version, compute_cap` of `nvidia-smi`."""
    gpus: list[NvidiaGpu] = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) >= 2 and parts[1][:1].isdigit():
            capability = _version(parts[2]) if len(parts) > 2 else (0, 0)
            gpus.append(NvidiaGpu(parts[0], _version(parts[1])[0], capability))
    return tuple(gpus)


def parse_kfd_properties(text: str) -> str:
    """Return the target of one node of the AMD kernel driver, empty for a CPU.

    `gfx_target_version 110001` is gfx1101: major, minor and a hexadecimal stepping, two digits each.
    """
    found = re.search(r"^gfx_target_version (\d+)$", text, re.MULTILINE)
    number = int(found.group(1)) if found else 0
    if number == 0:
        return ""
    return f"gfx{number // 10000}{number // 100 % 100}{number % 100:x}"


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(found.group(1)), int(found.group(2) or 0)) if found else (0, 0)


def _probe_nvidia() -> tuple[tuple[NvidiaGpu, ...], str]:
    # Under WSL the tool is outside PATH; old drivers on Windows put it next to their own files.
    candidates = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"]
    if "PROGRAMFILES" in os.environ:
        folder = Path(os.environ["PROGRAMFILES"], "NVIDIA Corporation", "NVSMI")
        candidates.append(str(folder / "nvidia-smi.exe"))
    tool = next((path for path in map(shutil.which, candidates) if path), None)
    if tool is None:
        return (), ""
    error = ""
    # Drivers before 510 do not know compute_cap and refuse the whole query.
    for query in ("name,driver_version,compute_cap", "name,driver_version"):
        output = _run([tool, f"--query-gpu={query}", "--format=csv,noheader"])
        gpus = parse_nvidia_smi(output)
        if gpus:
            return gpus, ""
        error = output.strip().splitlines()[0] if output.strip() else "it printed nothing"
    return (), f"nvidia-smi lists no GPU: {error}"


def _probe_amd() -> tuple[str, ...]:
    nodes = Path("/sys/class/kfd/kfd/topology/nodes")
    if not Path("/dev/kfd").exists() or not nodes.is_dir():
        return ()
    targets: list[str] = []
    for node in sorted(nodes.iterdir()):
        try:
            target = parse_kfd_properties((node / "properties").read_text(encoding="ascii"))
        except OSError:
            continue
        if target:
            targets.append(target)
    return tuple(targets)


def _probe_intel(system: str) -> str:
    if system == "Linux":
        for device in sorted(Path("/sys/class/drm").glob("card[0-9]*/device")):
            try:
                vendor = (device / "vendor").read_text(encoding="ascii").strip()
                pci_id = (device / "device").read_text(encoding="ascii").strip()
            except OSError:
                continue
            if vendor == "0x8086" and INTEL_PCI_IDS.match(pci_id):
                return f"Intel GPU {pci_id}"
    if system == "Windows":
        query = "(Get-CimInstance Win32_VideoController).Name"
        names = _run(["powershell", "-NoProfile", "-Command", query])
        return next((name.strip() for name in names.splitlines() if INTEL_NAMES.search(name)), "")
    return ""


def _run(command: list[str]) -> str:
    """Return a tool's output, or its error output if there is none; empty if it cannot be run."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout or process.stderr
