"""The requirements files, and the comparison of an installed PyTorch with a build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modules.launch.hardware import Hardware
from modules.launch.install import custom_index_build, install_variables, matches_build
from modules.launch.wheels import TORCH_VERSION, cpu_build

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z]+\])?==([0-9][0-9a-z.]*)(?: ; .+)?$")


def lines(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(name):
    return {(found[1], found[2]) for line in lines(name) if (found := PIN.match(line))}


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "requirements-dev.txt", "requirements-reference.txt", "constraints.txt"],
)
def test_every_line_pins_one_version(name):
    assert [line for line in lines(name) if not PIN.match(line)] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_has_the_pins_of_the_requirements(name):
    assert pins(name) - pins("constraints.txt") == set()


def test_the_lock_names_no_server_and_no_gpu_package():
    text = "\n".join(lines("constraints.txt"))
    assert "://" not in text
    assert not re.search(r"^(nvidia|cuda|triton)", text, re.MULTILINE)


def test_pytorch_is_pinned_to_the_version_of_the_table():
    assert ("torch", TORCH_VERSION) in pins("requirements.txt")


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
