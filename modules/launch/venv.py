"""The program's Python environment: finds it, creates it, and recreates it if it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.launch import interpreter
from modules.launch.console import echo

# Written into every environment created here, before anything else.
MARKER = "made-by-webui"
# A wheel's metadata is unpacked last: a PyTorch without it was interrupted while unpacking.
INSPECT = """
import importlib.metadata, importlib.util, sys
print('%d.%d' % sys.version_info[:2])
print(bool(importlib.util.find_spec('pip')))
try:
    print(importlib.metadata.version('torch'))
except importlib.metadata.PackageNotFoundError:
    print()
"""


@dataclass(frozen=True)
class PythonEnvironment:
    """An environment for packages.

    Args:
        folder: Its `sys.prefix`, which also holds the install state.
        python: Its interpreter.
        is_managed: Whether this program created it and may delete it.
    """

    folder: Path
    python: Path
    is_managed: bool


@dataclass(frozen=True)
class EnvironmentInfo:
    """Facts about an environment, from its own Python.

    Args:
        python: Version of Python, such as "3.12".
        has_pip: Whether packages can be installed.
        torch: Version of PyTorch with its build, empty when there is none.
    """

    python: str
    has_pip: bool
    torch: str


def locate(root: Path, env: Mapping[str, str]) -> PythonEnvironment:
    """Return the environment in `venv_dir`: by default `venv`; "-" means the running Python."""
    name = env.get("venv_dir", "").strip() or env.get("VENV_DIR", "").strip() or "venv"
    if name == "-":
        return PythonEnvironment(Path(sys.prefix), Path(sys.executable), is_managed=False)
    folder = root / Path(name).expanduser()
    return PythonEnvironment(
        folder,
        folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"),
        is_managed=folder == root / "venv" or (folder / MARKER).is_file(),
    )


def inspect(environment: PythonEnvironment) -> EnvironmentInfo | None:
    """Return the facts about an environment, or None if its Python does not run."""
    try:
        process = subprocess.run(
            [str(environment.python), "-I", "-c", INSPECT],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = process.stdout.splitlines()
    if process.returncode != 0 or len(lines) < 3:
        return None
    return EnvironmentInfo(lines[0], lines[1] == "True", lines[2])


def ensure(environment: PythonEnvironment) -> EnvironmentInfo:
    """Create the environment if there is none; recreate it if it is broken and managed by this program.

    Raises:
        UserError: this Python cannot create one, or the folder is broken and not managed by this program.
    """
    folder = environment.folder
    if not folder.exists() or not any(folder.iterdir()):
        return _create(environment)
    info = inspect(environment)
    if info and info.has_pip and _is_supported(info.python):
        return info
    if not environment.is_managed or not _may_delete(folder):
        raise UserError(
            f"{folder} is not a working environment of Python 3.10 to 3.13, "
            "and it was not created by the WebUI.",
            "Repair or rename it, or set venv_dir to another folder.",
        )
    problem = "broken or incomplete"
    if info and info.has_pip:
        problem = f"of Python {info.python}"
    echo(f"{folder} is {problem}: recreating it.")
    interpreter.check_venv(interpreter.current_interpreter())
    shutil.rmtree(folder)
    return _create(environment)


def _create(environment: PythonEnvironment) -> EnvironmentInfo:
    interpreter.check_venv(interpreter.current_interpreter())
    folder = environment.folder
    echo(f"Creating a Python environment in {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_text("If you delete this folder, the next start recreates it.\n")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}.") from error
    process = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False)
    info = inspect(environment) if process.returncode == 0 else None
    if info is None or not info.has_pip:
        raise UserError(
            f"{sys.executable} could not create a virtual environment in {folder}.",
            "The lines above say why. " + interpreter.install_hint(),
        )
    return info


def _is_supported(version: str) -> bool:
    """Return whether a version is in the supported range, or that of the running Python."""
    major, minor = (int(part) for part in version.split("."))
    in_range = interpreter.MIN_PYTHON <= (major, minor) <= interpreter.MAX_PYTHON
    return in_range or (major, minor) == interpreter.current_interpreter().version


def _may_delete(folder: Path) -> bool:
    venv_entries = {"bin", "include", "lib", "lib64", "share", "scripts", "pyvenv.cfg", MARKER}
    is_marked = (folder / MARKER).is_file() or (folder / "pyvenv.cfg").is_file()
    return is_marked or all(entry.name.lower() in venv_entries for entry in folder.iterdir())
