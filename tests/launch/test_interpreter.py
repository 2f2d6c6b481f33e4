"""Which Pythons are accepted, and the error for each that is not."""

from __future__ import annotations

import sys

import pytest

from modules.core.errors import UserError
from modules.launch.interpreter import (
    MAX_PYTHON,
    MIN_PYTHON,
    Interpreter,
    check,
    check_venv,
    current_interpreter,
    install_hint,
)


def python(version, *, is_64bit=True, can_make_venv=True):
    return Interpreter(version, is_64bit, can_make_venv, "/opt/python")


def test_the_current_interpreter_is_the_running_one():
    current = current_interpreter()
    assert current.version == sys.version_info[:2]
    assert current.path == sys.executable


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 12), (3, 13)])
def test_supported_versions_pass(version):
    assert MIN_PYTHON <= version <= MAX_PYTHON
    check(python(version))


@pytest.mark.parametrize("version", [(3, 8), (3, 9), (3, 14), (4, 0)])
def test_other_versions_are_refused(version):
    with pytest.raises(UserError, match=rf"Python {version[0]}\.{version[1]}.*3\.10 to 3\.13"):
        check(python(version))
    check(python(version), any_version=True)


def test_32_bit_is_refused_even_with_any_version():
    with pytest.raises(UserError, match="32-bit"):
        check(python((3, 12), is_64bit=False), any_version=True)


def test_a_missing_venv_names_the_package():
    with pytest.raises(UserError, match=r"sudo apt install python3\.11-venv"):
        check_venv(python((3, 11), can_make_venv=False), "Linux")
    check_venv(python((3, 11)), "Linux")


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ("Darwin", "brew install python@3.12"),
        ("Windows", "tick 'Add python.exe to PATH'"),
        ("Linux", "sudo apt install python3 python3-venv"),
    ],
)
def test_every_system_has_its_command(system, command):
    assert command in install_hint(system)
