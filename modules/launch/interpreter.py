"""Checks whether a Python can run the program, and says how to install one."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass

from modules.core.errors import UserError

MIN_PYTHON = (3, 10)
MAX_PYTHON = (3, 13)


@dataclass(frozen=True)
class Interpreter:
    """The relevant facts of a Python interpreter.

    Args:
        version: Major and minor version.
        is_64bit: Whether it is a 64-bit build.
        can_make_venv: Whether `python -m venv` works; Debian has it in a separate package.
        path: Path of its executable.
    """

    version: tuple[int, int]
    is_64bit: bool
    can_make_venv: bool
    path: str

    @property
    def version_string(self) -> str:
        """The version as text, such as "3.12"."""
        return f"{self.version[0]}.{self.version[1]}"


def current_interpreter() -> Interpreter:
    """Return the running interpreter."""
    return Interpreter(
        version=(sys.version_info[0], sys.version_info[1]),
        is_64bit=sys.maxsize > 2**32,
        can_make_venv=all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
        path=sys.executable,
    )


def check(python: Interpreter, *, any_version: bool = False) -> None:
    """Raise a UserError with installation instructions, unless `python` can run the program."""
    if not python.is_64bit:
        raise UserError(
            f"{python.path} is a 32-bit Python, for which there is no PyTorch.", install_hint()
        )
    if not any_version and not MIN_PYTHON <= python.version <= MAX_PYTHON:
        raise UserError(
            f"{python.path} is Python {python.version_string}, but the WebUI runs on Python 3.10 to 3.13.",
            install_hint(),
        )


def check_venv(python: Interpreter, system: str = "") -> None:
    """Raise a UserError with the command to run, unless `python` can make a venv."""
    if python.can_make_venv:
        return
    hint = install_hint(system)
    if (system or platform.system()) == "Linux":
        hint = (
            f"On Debian and Ubuntu run: sudo apt install python{python.version_string}-venv. "
            "On other systems install the package with Python's venv."
        )
    raise UserError(f"{python.path} cannot make virtual environments.", hint)


def install_hint(system: str = "") -> str:
    """Return a sentence on how to install Python on a system, by default this one."""
    return {
        "Darwin": "Install one with: brew install python@3.12",
        "Windows": "Install the 64-bit Python 3.12 from https://www.python.org/downloads/windows/ "
        "and tick 'Add python.exe to PATH'.",
    }.get(
        system or platform.system(),
        "Install one with: sudo apt install python3 python3-venv (Debian, Ubuntu), "
        "sudo dnf install python3.12 (Fedora) or your system's package manager.",
    )
