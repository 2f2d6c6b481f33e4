"""Writes the locks: every package that the requirements pull in, with the wheels of each platform and their hashes.

`requirements.lock` belongs to `requirements.txt`; `requirements-dev.lock` has what `requirements-dev.txt` adds to it.
Needs uv (`pip install uv`) and Python 3.11. Further arguments go to `uv pip compile`:

    venv/bin/python tools/lock.py
    venv/bin/python tools/lock.py --exclude-newer 2026-11-01
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tomllib

ROOT = Path(__file__).resolve().parent.parent
COMPILE = (
    "uv pip compile --quiet --no-header --universal --only-binary :all: --python-version 3.10 "
    "--no-python-downloads --format pylock.toml"
)
# PyTorch comes from the index of its build, and a GPU build brings its own packages along. spandrel asks for torchvision
# and runs without (modules/backend/upscale/spandrel_import.py).
OF_PYTORCH = re.compile(r"(torch|torchvision|triton|nvidia-.+|cuda-.+)$")
WHEEL = re.compile(
    r".+-(py3|py2\.py3|cp\d+)-(none|abi3|cp\d+)-"
    r"(any|macosx[\w.]+_(arm64|universal2)|manylinux[\w.]+_(x86_64|aarch64)|win_(amd64|arm64))\.whl"
)
HEADER = """\
# {content}
# Installed with --no-deps --require-hashes; made by tools/lock.py, not by hand. The comments below a package name the
# wheels of its hashes: Python 3.10 and newer on Linux, macOS and Windows. PyTorch and what its GPU builds bring along
# are not here: they come from the index of the build, which modules/launch/wheels.py chooses.
"""


def main(arguments: Sequence[str]) -> None:
    """Resolve the requirements of the program and of the tests together, and write both locks."""
    with tempfile.TemporaryDirectory() as folder:
        everything = _resolve(["requirements.txt", "requirements-dev.txt"], arguments)
        pins = Path(folder, "pins.txt")
        pins.write_text("".join(_requirement(package) + "\n" for package in everything), "utf-8")
        program = _resolve(["requirements.txt"], [*arguments, "--constraint", str(pins)])
    known = {_requirement(package) for package in program}
    tests = [package for package in everything if _requirement(package) not in known]
    _write(
        "requirements.lock", "Every package of requirements.txt and all that they pull in.", program
    )
    _write("requirements-dev.lock", "What requirements-dev.txt adds to requirements.lock.", tests)


def lock_text(content: str, packages: Sequence[dict[str, Any]]) -> str:
    """Return a lock.

    Args:
        content: First line of its head.
        packages: `packages` of a `pylock.toml` (PEP 751).
    """
    entries = [_entry(package) for package in packages if not OF_PYTORCH.match(package["name"])]
    return HEADER.format(content=content) + "".join(entries)


def _entry(package: dict[str, Any]) -> str:
    wheels = {
        PurePosixPath(wheel["url"]).name: wheel["hashes"]["sha256"] for wheel in package["wheels"]
    }
    names = sorted(name for name in wheels if WHEEL.fullmatch(name))
    lines = [_requirement(package), *(f"    --hash=sha256:{wheels[name]}" for name in names)]
    return " \\\n".join(lines) + "\n" + "".join(f"    # {name}\n" for name in names)


def _requirement(package: dict[str, Any]) -> str:
    marker = f" ; {package['marker']}" if "marker" in package else ""
    return f"{package['name']}=={package['version']}{marker}"


def _resolve(files: Sequence[str], arguments: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*COMPILE.split(), *arguments, *files], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return tomllib.loads(done.stdout.decode())["packages"]


def _write(name: str, content: str, packages: Sequence[dict[str, Any]]) -> None:
    (ROOT / name).write_text(lock_text(content, packages), encoding="utf-8")
    print(f"{name}: {len(packages)} packages")


if __name__ == "__main__":
    main(sys.argv[1:])
