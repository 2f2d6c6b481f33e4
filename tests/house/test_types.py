from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_type_checker_has_nothing_to_say(root: Path):
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if "node" in done.stderr.lower() and done.returncode not in (0, 1):
        pytest.skip("the type checker's Node.js is not installed")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
