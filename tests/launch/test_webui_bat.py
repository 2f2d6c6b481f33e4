"""webui.bat: what its text must hold, and runs of it under Windows or wine with a Python faked by a batch file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINE = shutil.which("wine") or shutil.which("wine64") or ""
SHELL = ["cmd.exe"] if os.name == "nt" else [WINE, "cmd.exe"]
TIMEOUT_S = 300  # wine makes its folder in the first run
needs_cmd = pytest.mark.skipif(os.name != "nt" and not WINE, reason="neither Windows nor wine")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with webui.bat and a python.bat that prints its arguments; the current folder is searched first."""
    folder = tmp_path / "my clone"
    folder.mkdir()
    shutil.copy(ROOT / "webui.bat", folder)
    (folder / "python.bat").write_bytes(b'@if not "%~1"=="-c" echo STARTED %*\r\n@exit /b 0\r\n')
    return folder


def run(clone: Path, *arguments: str, **variables: str) -> str:
    """Return what webui.bat prints."""
    env = {**os.environ, "CI": "1", "WINEDEBUG": "-all", "WINEPREFIX": str(clone / "wine")}
    done = subprocess.run(
        [*SHELL, "/d", "/c", "webui.bat", *arguments],
        cwd=clone,
        env={**env, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
    )
    return done.stdout + done.stderr


@needs_cmd
def test_it_starts_with_the_first_python(clone: Path):
    assert "STARTED launch.py --api" in run(clone, "--api")


@needs_cmd
@pytest.mark.parametrize("argument", ["a & b", "a | b", "a > b", "a && exit b"])
def test_quoted_arguments_with_special_characters_are_kept_whole(clone: Path, argument: str):
    printed = run(clone, "--ckpt-dir", argument)
    assert f'STARTED launch.py --ckpt-dir "{argument}"' in printed
    assert not (clone / "b").exists()


@needs_cmd
def test_quotes_in_variables_do_no_harm(clone: Path):
    printed = run(clone, VENV_DIR='"C:\\my venv"', COMMANDLINE_ARGS='--ckpt-dir "a & b"')
    assert "STARTED launch.py" in printed


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
