from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_linter_has_nothing_to_say(root: Path):
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "modules", "tests", "tools", "launch.py"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
