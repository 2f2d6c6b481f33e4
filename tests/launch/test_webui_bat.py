"""webui.bat: what its text must hold, and runs of it under Windows or wine with a Python faked by a batch file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINE = shutil.which("wine") or shutil.which("wine64") or ""
SHELL = ["cmd.exe"] if os.name == "nt" else [WINE, "cmd.exe"]
WINESERVER = shutil.which("wineserver") or "/usr/lib/wine/wineserver"
TIMEOUT_S = 300  # wine makes its folder in the first run
# A process of wine's own crashes now and then on a busy machine; what ran beside it says nothing about the script.
WINE_BROKE = "wine: Unhandled page fault"
RUNS_OF_WINE = 3
needs_cmd = pytest.mark.skipif(os.name != "nt" and not WINE, reason="neither Windows nor wine")
PYTHON = b'@if "%~1"=="-c" exit /b 0\r\n@echo STARTED %*\r\n'


@dataclass(frozen=True)
class Machine:
    """A clone of the repository with a Python faked by a batch file, which prints its arguments."""

    clone: Path
    wine_folder: Path

    def run(self, *arguments: str, script: str = "webui.bat", **variables: str) -> list[str]:
        """Return the lines that are printed; cmd.exe searches the current folder first, and finds python.bat there."""
        for _ in range(RUNS_OF_WINE):
            lines = self._run_once([*SHELL, "/d", "/c", script, *arguments], variables)
            if not any(line.startswith(WINE_BROKE) for line in lines):
                return lines
        raise RuntimeError(f"wine breaks each time: {lines}.")

    def _run_once(self, command: list[str], variables: dict[str, str]) -> list[str]:
        wine = {"WINEDEBUG": "-all", "WINEPREFIX": str(self.wine_folder)}
        done = subprocess.run(
            command,
            cwd=self.clone,
            env={**os.environ, "CI": "1", **wine, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
        )
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def wine_folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("wine")
    env = {**os.environ, "WINEPREFIX": str(folder), "WINEDEBUG": "-all"}
    if WINE:
        setup = [WINE, "cmd.exe", "/c", "exit"]
        subprocess.run(setup, env=env, capture_output=True, timeout=TIMEOUT_S)
    yield folder
    if WINE and Path(WINESERVER).exists():
        subprocess.run([WINESERVER, "-k"], env=env, capture_output=True, timeout=TIMEOUT_S)


@pytest.fixture
def machine(tmp_path: Path, wine_folder: Path) -> Machine:
    return make_machine(tmp_path / "my clone", wine_folder)


def make_machine(clone: Path, wine_folder: Path) -> Machine:
    clone.mkdir()
    shutil.copy(ROOT / "webui.bat", clone)
    shutil.copy(ROOT / "webui-user.bat.template", clone / "webui-user.bat")
    (clone / "python.bat").write_bytes(PYTHON)
    return Machine(clone, wine_folder)


@needs_cmd
def test_it_starts_with_the_first_python(machine: Machine):
    assert machine.run("--api") == ["STARTED launch.py --api"]


@needs_cmd
@pytest.mark.parametrize("script", ["webui.bat", "webui-user.bat"])
@pytest.mark.parametrize(
    "argument", ["a & b", "a | b", "a > b", "a && exit b", "a ^ b", "a b!c", "(a b)", "C:\\a b\\c"]
)
def test_quoted_arguments_with_special_characters_are_kept_whole(
    machine: Machine, script: str, argument: str
):
    printed = machine.run("--ckpt-dir", argument, script=script)
    assert printed == [f'STARTED launch.py --ckpt-dir "{argument}"']
    assert not (machine.clone / "b").exists()


@needs_cmd
@pytest.mark.parametrize("name", ["(x86)", "a & b", "ä", "a!b", "a^b", "a;b,c=d", "it's"])
def test_the_folder_may_have_any_name(tmp_path: Path, wine_folder: Path, name: str):
    machine = make_machine(tmp_path / name, wine_folder)
    assert machine.run("--api") == ["STARTED launch.py --api"]


@needs_cmd
def test_quotes_in_variables_do_no_harm(machine: Machine):
    printed = machine.run(VENV_DIR='"C:\\my venv"', COMMANDLINE_ARGS='--ckpt-dir "a & b"')
    assert printed == ["STARTED launch.py"]


@needs_cmd
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_path_of_a_python_may_hold_special_characters(machine: Machine, quote: str):
    (machine.clone / "python.bat").unlink()
    folder = machine.clone / "Python (x86) & more"
    folder.mkdir()
    (folder / "my python.bat").write_bytes(PYTHON)
    printed = machine.run(PYTHON=f"{quote}Python (x86) & more\\my python.bat{quote}")
    assert printed == ["STARTED launch.py"]


@needs_cmd
def test_a_python_that_does_not_work_is_named(machine: Machine):
    printed = machine.run(PYTHON="no python.exe")
    assert printed[0].startswith('PYTHON names "no python.exe", which is not a working')


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arguments", " --skip-python-version-check"),
        ("COMMANDLINE_ARGS", "--skip-python-version-check --api"),
    ],
)
def test_any_version_is_accepted_with_the_flag(name: str, value: str):
    [code] = re.findall(r'-c "(.+?)"', "\n".join(batch_lines()))
    old = code.replace("%modules%", "os, sys").replace("(3, 13)", "(3, 9)")
    env = {**os.environ, "arguments": " --api", "COMMANDLINE_ARGS": ""}
    assert subprocess.run([sys.executable, "-c", old], env=env).returncode == 1
    assert subprocess.run([sys.executable, "-c", old], env={**env, name: value}).returncode == 0


def batch_lines() -> list[str]:
    return (ROOT / "webui.bat").read_text(encoding="ascii").splitlines()


def test_arguments_are_never_in_a_pipe_or_in_quotes_of_the_script():
    lines = [line for line in batch_lines() if "%*" in line and not line.startswith("rem ")]
    assert not [line for line in lines if re.search(r'^echo|\| *\w|set "[^"]*%\*', line)]


def test_a_share_of_the_network_gets_a_drive_letter():
    assert 'pushd "%~dp0"' in batch_lines()
    assert not [line for line in batch_lines() if line.startswith("cd ")]


def test_every_label_that_is_gone_to_exists_once():
    text = "\n".join(batch_lines())
    labels = re.findall(r"^:(\w+)", text, re.MULTILINE)
    assert sorted(labels) == sorted(set(re.findall(r"(?:goto|call) :(\w+)", text)))
