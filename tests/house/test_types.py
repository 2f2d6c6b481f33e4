from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


def checked_content(root: Path) -> str:
    """Return a hash of all that the verdict depends on: the program, its settings, and the packages that are there."""
    digest = hashlib.sha256(sys.version.encode())
    for file in (root / "pyproject.toml", *sorted((root / "modules").rglob("*.py"))):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    packages = sorted(f"{one.name} {one.version}" for one in metadata.distributions())
    return hashlib.sha256(digest.digest() + "\n".join(packages).encode()).hexdigest()


def test_the_type_checker_has_nothing_to_say(root: Path):
    pytest.importorskip("pyright")
    content, passed = checked_content(root), root / ".pytest_cache" / "types_checked"
    if passed.exists() and passed.read_text("utf-8") == content:
        return  # it takes minutes of a processor to say the same again
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if "node" in done.stderr.lower() and done.returncode not in (0, 1):
        pytest.skip("the type checker's Node.js is not installed")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed.parent.mkdir(exist_ok=True)
    passed.write_text(content, "utf-8")
