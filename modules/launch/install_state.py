"""The install state: written into the environment by a finished set-up, so that the next start skips it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from modules.core.atomic import write_text

STATE_FILENAME = "webui-stamp.json"
TEST_STATE_FILENAME = "webui-test-stamp.json"
OPENVINO_STATE_FILENAME = "webui-openvino-stamp.json"
RAY_STATE_FILENAME = "webui-ray-stamp.json"


@dataclass(frozen=True)
class InstallState:
    """Result of a finished set-up.

    Args:
        fingerprint: Hash of everything that the set-up depends on.
        python: Version of the environment's Python, such as "3.12".
        torch: Version of PyTorch with its build, such as "2.13.0+cu130".
        device: What the smoke test ran on: "cuda", "xpu", "mps" or "cpu".
        reason: Why this build was chosen.
        warning: Sentence for the user, such as why the GPU is not used; empty when all is well.
    """

    fingerprint: str
    python: str
    torch: str = ""
    device: str = ""
    reason: str = ""
    warning: str = ""


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """Return a hash of the content of files and of further facts; a missing file counts as empty."""
    digest = hashlib.sha256()
    parts = [path.read_bytes() if path.is_file() else b"" for path in files]
    for part in [*parts, *(fact.encode() for fact in facts)]:
        # Line endings differ between checkouts of the same commit.
        digest.update(hashlib.sha256(part.replace(b"\r\n", b"\n")).digest())
    return digest.hexdigest()


def read_install_state(folder: Path, name: str = STATE_FILENAME) -> InstallState | None:
    """Return the install state in an environment's folder, or None if it is missing or incomplete."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        return InstallState(
            **{field.name: str(content[field.name]) for field in fields(InstallState)}
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def write_install_state(folder: Path, state: InstallState, name: str = STATE_FILENAME) -> None:
    """Write the install state atomically."""
    write_text(folder / name, json.dumps(asdict(state), indent=2) + "\n")


def remove_install_state(folder: Path, name: str = STATE_FILENAME) -> None:
    """Remove the install state; to be called before anything that it describes is changed."""
    (folder / name).unlink(missing_ok=True)
