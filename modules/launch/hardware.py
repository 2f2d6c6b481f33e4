"""What this machine can compute on, as read from its drivers. Knows nothing of PyTorch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Graphics that PyTorch names as supported: Data Center GPU Max and Flex, Arc A and B, and the Arc
# graphics of Core Ultra (Meteor Lake-H, Arrow Lake-H, Lunar Lake, Panther Lake).
INTEL_PCI_IDS = re.compile(r"0x(0bd|56|e2|7d55|7dd5|7d51|7dd1|64a|64b|b0[89ab])", re.IGNORECASE)
INTEL_NAMES = re.compile(r"Intel.*\bArc\b|Intel.*Data Center GPU", re.IGNORECASE)
PROBE_TIMEOUT_S = 20


@dataclass(frozen=True)
class NvidiaGpu:
    """One card as `nvidia-smi` tells it.

    Args:
        name: Name for people.
        driver_version: Major version of the driver; 0 when it could not be read.
        capability: CUDA compute capability; (0, 0) when the driver is too old to tell.
    """

    name: str
    driver_version: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Hardware:
    """The facts that a PyTorch build is chosen from.

    Args:
        system: "Linux", "Windows" or "Darwin".
        machine: "x86_64" or "arm64", whatever the system calls them.
        macos: Version of macOS, (0, 0) elsewhere.
        nvidia_gpus: NVIDIA cards in the driver's order.
        amd_targets: Targets of AMD cards, such as "gfx1100".
        intel_gpu: Name of an Intel GPU that PyTorch supports, or an empty string.
        driver_error: What a driver's own tool complained about.
    """

    system: str
    machine: str
    macos: tuple[int, int] = (0, 0)
    nvidia_gpus: tuple[NvidiaGpu, ...] = ()
    amd_targets: tuple[str, ...] = ()
    intel_gpu: str = ""
    driver_error: str = ""


def probe() -> Hardware:
    """Return the facts of this machine. Takes up to a few seconds; changes nothing."""
    system = platform.system()
    nvidia, trouble = _probe_nvidia()
    return Hardware(
        system=system,
        machine=normalize_machine(platform.machine()),
        macos=_version(platform.mac_ver()[0]) if system == "Darwin" else (0, 0),
        nvidia_gpus=nvidia,
        amd_targets=_probe_amd() if system == "Linux" else (),
        intel_gpu=_probe_intel(system),
        driver_error=trouble,
    )


def normalize_machine(machine: str) -> str:
    """Return the processor's name as used in this program."""
    lower = machine.lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(lower, lower)


def parse_nvidia_smi(text: str) -> tuple[NvidiaGpu, ...]:
    """Return the cards in the lines `name, driver_version, compute_cap` of `nvidia-smi`."""
    cards: list[NvidiaGpu] = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) >= 2 and parts[1][:1].isdigit():
            capability = _version(parts[2]) if len(parts) > 2 else (0, 0)
            cards.append(NvidiaGpu(parts[0], _version(parts[1])[0], capability))
    return tuple(cards)


def parse_kfd_properties(text: str) -> str:
    """Return the target of one node of the AMD kernel driver, empty for a processor.

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
    # Under WSL the tool lies outside PATH; old drivers on Windows put it beside their own files.
    places = ["nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"]
    if "PROGRAMFILES" in os.environ:
        folder = Path(os.environ["PROGRAMFILES"], "NVIDIA Corporation", "NVSMI")
        places.append(str(folder / "nvidia-smi.exe"))
    tool = next((found for found in map(shutil.which, places) if found), None)
    if tool is None:
        return (), ""
    trouble = ""
    # Drivers before 510 do not know compute_cap and refuse the whole question.
    for question in ("name,driver_version,compute_cap", "name,driver_version"):
        done = _run([tool, f"--query-gpu={question}", "--format=csv,noheader"])
        cards = parse_nvidia_smi(done)
        if cards:
            return cards, ""
        trouble = done.strip().splitlines()[0] if done.strip() else "it printed nothing"
    return (), f"nvidia-smi lists no card: {trouble}"


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
                number = (device / "device").read_text(encoding="ascii").strip()
            except OSError:
                continue
            if vendor == "0x8086" and INTEL_PCI_IDS.match(number):
                return f"Intel GPU {number}"
    if system == "Windows":
        ask = "(Get-CimInstance Win32_VideoController).Name"
        names = _run(["powershell", "-NoProfile", "-Command", ask])
        return next((n.strip() for n in names.splitlines() if INTEL_NAMES.search(n)), "")
    return ""


def _run(command: list[str]) -> str:
    """Return what a tool printed, its complaint if it failed, or an empty string."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout or done.stderr
