"""The Python environment the program lives in: found, made, and made again when it is broken."""

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

# Lies in every environment made here, from before anything else does.
MARKER = "made-by-webui"
# A wheel's own record is unpacked last: a PyTorch without one was cut off in the middle.
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
    """Where packages are installed.

    Args:
        folder: Its `sys.prefix`, where the stamps lie.
        python: Its interpreter.
        is_managed: Whether it was made here and may be deleted here.
    """

    folder: Path
    python: Path
    is_managed: bool


@dataclass(frozen=True)
class EnvironmentInfo:
    """What an environment's own Python says of it.

    Args:
        python: Its version, such as "3.12".
        has_pip: Whether packages can be installed.
        torch: Version of PyTorch with its build, empty when there is none.
    """

    python: str
    has_pip: bool
    torch: str


def locate(root: Path, env: Mapping[str, str]) -> PythonEnvironment:
    """Return the environment that `venv_dir` names: `venv` by default, "-" for the running Python."""
    name = env.get("venv_dir") or env.get("VENV_DIR") or "venv"
    if name == "-":
        return PythonEnvironment(Path(sys.prefix), Path(sys.executable), is_managed=False)
    folder = root / Path(name).expanduser()
    return PythonEnvironment(
        folder,
        folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"),
        is_managed=folder == root / "venv" or (folder / MARKER).is_file(),
    )


def inspect(environment: PythonEnvironment) -> EnvironmentInfo | None:
    """Return what is in an environment, or None when its Python does not run."""
    try:
        done = subprocess.run(
            [str(environment.python), "-I", "-c", INSPECT],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) < 3:
        return None
    return EnvironmentInfo(lines[0], lines[1] == "True", lines[2])


def ensure(environment: PythonEnvironment) -> EnvironmentInfo:
    """Make the environment if there is none, make it again if it is broken and ours.

    Raises:
        UserError: this Python cannot make one, or what is there is broken and not ours to delete.
    """
    folder = environment.folder
    if not folder.exists() or not any(folder.iterdir()):
        return _make(environment)
    contents = inspect(environment)
    if contents and contents.has_pip and _is_supported(contents.python):
        return contents
    if not environment.is_managed or not _may_delete(folder):
        raise UserError(
            f"{folder} is not an environment of a Python 3.10 to 3.13 that works, "
            "and it was not made by the WebUI.",
            "Repair or rename it, or name another folder with venv_dir.",
        )
    what = "broken or half made"
    if contents and contents.has_pip:
        what = f"of Python {contents.python}"
    echo(f"{folder} is {what}: making it again.")
    interpreter.check_venv(interpreter.current_interpreter())
    shutil.rmtree(folder)
    return _make(environment)


def _make(environment: PythonEnvironment) -> EnvironmentInfo:
    interpreter.check_venv(interpreter.current_interpreter())
    folder = environment.folder
    echo(f"Making a Python environment in {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARKER).write_text("Deleting this folder makes the next start set it up anew.\n")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}.") from error
    made = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False)
    contents = inspect(environment) if made.returncode == 0 else None
    if contents is None or not contents.has_pip:
        raise UserError(
            f"{sys.executable} could not make a virtual environment in {folder}.",
            "The lines above say why. " + interpreter.install_hint(),
        )
    return contents


def _is_supported(version: str) -> bool:
    """Return whether a version is in the range, or the one that the user runs this with."""
    major, minor = (int(part) for part in version.split("."))
    in_range = interpreter.MIN_PYTHON <= (major, minor) <= interpreter.MAX_PYTHON
    return in_range or (major, minor) == interpreter.current_interpreter().version


def _may_delete(folder: Path) -> bool:
    known = {"bin", "include", "lib", "lib64", "share", "scripts", "pyvenv.cfg", MARKER}
    has_sign = (folder / MARKER).is_file() or (folder / "pyvenv.cfg").is_file()
    return has_sign or all(entry.name.lower() in known for entry in folder.iterdir())
