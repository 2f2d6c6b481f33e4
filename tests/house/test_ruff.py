from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = ("modules", "tests", "tools", "launch.py")


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_the_linter_has_nothing_to_say(root: Path, command: tuple[str, ...]):
    pytest.importorskip("ruff")
    arguments = [sys.executable, "-m", "ruff", *command, "--no-cache", *CHECKED]
    done = subprocess.run(arguments, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
