"""The requirements files with their locks, and the comparison of an installed PyTorch with a build."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging import tags
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from modules.launch.hardware import Hardware
from modules.launch.install import custom_index_build, install_variables, matches_build
from modules.launch.wheels import TORCH_VERSION, cpu_build

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ["requirements.txt", "requirements-dev.txt"]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
PINNED = [
    "requirements-pip.txt",
    "requirements-reference.txt",
    "requirements-openvino.txt",
    "requirements-ray.txt",
]
PYTHONS = [(3, 10), (3, 11), (3, 12), (3, 13)]
# The oldest systems that PyTorch runs on: glibc 2.28 and macOS 14.
PLATFORMS = {
    ("linux", "x86_64"): [*(f"manylinux_2_{n}_x86_64" for n in range(5, 29)), "manylinux1_x86_64"],
    ("linux", "aarch64"): [f"manylinux_2_{n}_aarch64" for n in range(17, 29)],
    ("darwin", "arm64"): [*tags.mac_platforms((14, 0), "arm64")],
    ("win32", "AMD64"): ["win_amd64"],
}
SYSTEMS = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
# PyTorch has a build for every device; of torchvision spandrel needs a few lines, which `backend/upscale` replaces.
NOT_LOCKED = ("torch", "torchvision")
PIN = re.compile(
    r"([a-z0-9._-]+)(?:\[[a-z]+\])?==([0-9][0-9a-z.]*)(?: ; ([^\\\n]+?))?((?: \\\n {4}--hash=sha256:[0-9a-f]{64})*)\n"
    r"((?: {4}# .+\.whl\n)*)"
)


@dataclass(frozen=True)
class Pin:
    """A line of a requirements file with the lines that belong to it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wheels: tuple[str, ...]

    def applies(self, python: tuple[int, int], system: str, machine: str) -> bool:
        version = "{}.{}".format(*python)
        environment = {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "sys_platform": system,
            "platform_system": SYSTEMS[system],
            "platform_machine": machine,
        }
        return not self.marker or Marker(self.marker).evaluate(environment)


def pins(name: str) -> list[Pin]:
    """Return the pins of a file that holds nothing else."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert PIN.sub("", text) == ""
    return [
        Pin(
            name=canonicalize_name(found[1]),
            version=found[2],
            marker=found[3] or "",
            hashes=tuple(re.findall(r"sha256:(\w+)", found[4])),
            wheels=tuple(re.findall(r"# (\S+)", found[5])),
        )
        for found in PIN.finditer(text)
    ]


def applying(names: list[str], *place: Any) -> dict[str, Pin]:
    """Return the pins of files that apply to a version of Python, a system and a machine."""
    found = [pin for name in names for pin in pins(name) if pin.applies(*place)]
    by_name = {pin.name: pin for pin in found}
    assert len({(pin.name, pin.version) for pin in found}) == len(by_name)
    return by_name


def suits(wheel: str, python: tuple[int, int], platforms: list[str]) -> bool:
    interpreter = "cp{}{}".format(*python)
    supported = {
        *tags.cpython_tags(python, platforms=platforms),
        *tags.compatible_tags(python, interpreter, platforms),
    }
    return not supported.isdisjoint(parse_wheel_filename(wheel)[3])


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_locks_have_every_requirement_with_a_wheel_for_each_platform(platform, python):
    required = applying(REQUIREMENTS, python, *platform)
    locked = applying(LOCKS, python, *platform)
    versions = {name: pin.version for name, pin in locked.items()}
    assert {
        name: pin.version for name, pin in required.items() if name != "torch"
    }.items() <= versions.items()
    assert [
        pin.name
        for pin in locked.values()
        if not any(suits(wheel, python, PLATFORMS[platform]) for wheel in pin.wheels)
    ] == []


@pytest.mark.parametrize("name", [*LOCKS, *PINNED])
def test_every_hash_belongs_to_a_wheel_of_the_pinned_version(name):
    for pin in pins(name):
        assert len(pin.hashes) == len(set(pin.hashes)) == len(pin.wheels) > 0
        assert {parse_wheel_filename(wheel)[:2] for wheel in pin.wheels} == {
            (pin.name, Version(pin.version))
        }


def test_the_locks_are_complete_for_what_is_installed_here():
    """The dependencies that the installed packages declare are locked, too."""
    python = (sys.version_info[0], sys.version_info[1])
    locked = applying(LOCKS, python, sys.platform, platform.machine())
    for name in locked:
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                dependency = canonicalize_name(requirement.name)
                assert dependency in (*NOT_LOCKED, *locked), f"{name} needs {line}"
                assert dependency in NOT_LOCKED or requirement.specifier.contains(
                    locked[dependency].version
                ), line


def test_the_locks_name_no_server_and_no_package_of_a_pytorch_build():
    locked = [pin for name in LOCKS for pin in pins(name)]
    assert not [pin for pin in locked if re.match("torch$|triton|nvidia|cuda", pin.name)]
    assert not [name for name in LOCKS if "://" in (ROOT / name).read_text(encoding="utf-8")]


def test_pytorch_is_pinned_to_the_version_of_the_table():
    assert ("torch", TORCH_VERSION) in {(pin.name, pin.version) for pin in pins("requirements.txt")}


def test_builds_of_the_same_version_are_distinguished():
    linux, windows = (cpu_build(Hardware(system, "x86_64")) for system in ("Linux", "Windows"))
    assert matches_build("2.13.0+cpu", linux)
    assert not matches_build("2.13.0+cu130", linux)
    assert not matches_build("2.13.0", linux)
    assert not matches_build("", linux)
    assert matches_build("2.13.0+cpu", windows)
    assert not matches_build("2.12.1+cpu", windows)
    assert matches_build("2.13.0+cu126", custom_index_build("https://example.org/whl"))


def test_a1111s_variables_are_read_and_trimmed():
    env = {"TORCH_COMMAND": " pip install torch ", "REQS_FILE": "mine.txt"}
    assert install_variables(env) == ("pip install torch", "", "mine.txt")
