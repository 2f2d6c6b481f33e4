"""The floors of modules/README.md, checked by import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_imports_go_down_the_floors_only(root: Path):
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
