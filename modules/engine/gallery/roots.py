"""The folders whose images the gallery shows: the outputs folder, the spare one, and those of an A1111 installation."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

TRASH = ".trash"  # in the outputs folder; no folder of a job or a batch is named like it
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"))
_OUTPUTS = "outputs"
_A1111_FOLDERS = ("outputs", "output", "log/images")
_MAX_CONFIG_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Root:
    """A folder with images.

    Args:
        key: Identifies it wherever the data folder lies; "outputs" for the only one that the gallery changes.
        folder: Its path, resolved.
        title: What the page calls it; empty for the outputs folder.
    """

    key: str
    folder: Path
    title: str = ""

    @property
    def is_read_only(self) -> bool:
        """Return whether the gallery never moves its files."""
        return self.key != _OUTPUTS

    def image_id(self, path: bytes) -> str:
        """Return the id of the image at a relative path; the same at every start."""
        return hashlib.sha256(self.key.encode() + b"\0" + path).hexdigest()[:24]

    def files(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield relative path, with slashes, and state of every image file; links are not followed."""
        for parent, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name == TRASH or not name.startswith(".")]
            place = Path(parent).relative_to(self.folder).as_posix()
            prefix = b"" if place == "." else os.fsencode(place) + b"/"
            for name in names:
                if name[name.rfind(".") :].lower() not in IMAGE_SUFFIXES:
                    continue
                try:
                    state = os.lstat(f"{parent}/{name}")
                except OSError:  # it was removed a moment ago
                    continue
                if stat.S_ISREG(state.st_mode):
                    yield prefix + os.fsencode(name), state


def list_roots(outputs: Path, spare: Path, a1111_folder: str) -> tuple[list[Root], str]:
    """Return the folders to show and a sentence about an A1111 folder that cannot be used; else "".

    Args:
        outputs: The outputs folder.
        spare: The folder of images that could not be written there.
        a1111_folder: The folder of an A1111 installation; empty for none.
    """
    roots = [Root(_OUTPUTS, outputs.resolve()), Root("spare", spare.resolve(), "Spare folder")]
    if not a1111_folder.strip():
        return roots, ""
    installation = Path(a1111_folder.strip()).expanduser()
    if not installation.is_absolute() or not installation.is_dir():
        return roots, (
            f"The A1111 folder '{a1111_folder}' does not exist; choose another in Settings, Page."
        )
    folders = _a1111_folders(installation.resolve())
    if not folders:
        return roots, (
            f"The A1111 folder '{a1111_folder}' has no outputs folder;"
            " choose the one that holds webui.py in Settings, Page."
        )
    known = [root.folder for root in roots]
    for folder in folders:
        if not any(folder == other or other in folder.parents for other in known):
            known.append(folder)
            roots.append(Root(str(folder), folder, f"A1111 {folder.name}"))
    return roots, ""


def _a1111_folders(installation: Path) -> list[Path]:
    """Return the folders in which an installation saves images, parents before what is in them."""
    named = [*_A1111_FOLDERS, *_configured_folders(installation / "config.json")]
    folders = {(installation / name).resolve() for name in named}
    return sorted(
        folder for folder in folders if folder.is_dir() and folder not in installation.parents
    )


def _configured_folders(config: Path) -> list[str]:
    """Return the output folders that A1111's settings name."""
    try:
        if config.stat().st_size > _MAX_CONFIG_BYTES:
            return []
        data: Any = json.loads(config.read_text(encoding="utf-8"))  # any JSON value
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(data, dict):
        return []
    options = cast("dict[str, object]", data)
    return [
        value
        for name, value in options.items()
        if name.startswith("outdir_") and isinstance(value, str) and value.strip()
    ]
