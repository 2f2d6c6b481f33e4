"""Which program runs on a machine: only workers of the same one make the same pictures."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modules.core.errors import UserError
from modules.core.version import VERSION

# Those whose version can change a picture, or how work is sent.
_PACKAGES = (
    *("torch", "diffusers", "transformers", "accelerate", "safetensors", "tokenizers"),
    *("numpy", "pillow", "opencv-python-headless", "pydantic", "ray"),
)


@dataclass(frozen=True)
class ProgramFacts:
    """A program and what it depends on.

    Args:
        machine: Host name.
        version: Of the program.
        source: Hash of its source files.
        python: Version of Python.
        packages: Versions of packages by name; of builds for other devices the same, "" for one that is not installed.
    """

    machine: str
    version: str
    source: str
    python: str
    packages: tuple[tuple[str, str], ...]


def program_facts(root: Path) -> ProgramFacts:
    """Return the facts of the program in a folder."""
    digest = hashlib.sha256()
    for path in sorted((root / "modules").rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return ProgramFacts(
        platform.node(),
        VERSION,
        digest.hexdigest(),
        ".".join(platform.python_version_tuple()[:2]),
        tuple((name, _version(name)) for name in _PACKAGES),
    )


def check_program(server: ProgramFacts, worker: ProgramFacts) -> None:
    """Check that a worker runs the same program as the server.

    Raises:
        UserError: it does not.
    """
    if worker.version != server.version:
        what = f"version {worker.version} of the program, and the server {server.version}"
    elif worker.python != server.python:
        what = f"Python {worker.python}, and the server {server.python}"
    elif worker.packages != server.packages:
        ours, theirs = dict(server.packages), dict(worker.packages)
        name = next(name for name in ours if ours[name] != theirs.get(name))
        what = f"{_describe(name, theirs.get(name))}, and the server {_describe(name, ours[name])}"
    elif worker.source != server.source:
        what = "other source files of the program than the server"
    else:
        return
    is_here = worker.machine == server.machine  # the program was updated while the server ran
    remedy = "Install the same version there, and start its Ray again."
    raise UserError(
        f"{worker.machine} has {what}, so that its pictures could differ.",
        "Restart the server." if is_here else remedy,
    )


def machine_id(root: Path) -> str:
    """Return what names this machine and the folder of the program on it: where it is equal, files are the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        mounts = str(Path("/proc/self/ns/mnt").readlink())  # of a container others
    except OSError:  # not Linux
        boot = mounts = ""
    status = root.stat()
    return f"{platform.node()} {boot} {mounts} {status.st_dev}:{status.st_ino}"


def _describe(package: str, version: str | None) -> str:
    return f"{package} {version}" if version else f"no {package}"


def _version(package: str) -> str:
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""
