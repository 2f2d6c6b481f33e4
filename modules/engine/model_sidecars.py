"""The small files that belong to a model file, such as its .yaml and its preview, and moving all of them together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.text import escape
from modules.core.user_files import decode_text

PREVIEWS = (".png", ".jpg", ".jpeg", ".webp")
_PREVIEW_ENDINGS = tuple(f"{middle}{suffix}" for middle in (".preview", "") for suffix in PREVIEWS)
_ENDINGS = (".yaml", ".yml", ".json", ".txt", ".civitai.info", *_PREVIEW_ENDINGS)
_MAX_NOTES_BYTES = 100_000
_MODEL_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Sidecars:
    """What belongs to a model file.

    Args:
        stem: Of the model file; they are named `<stem><ending>`.
        paths: The files.
        is_shared: Whether another model file has the same stem, so that they must stay for that one.
    """

    stem: str
    paths: tuple[Path, ...]
    is_shared: bool

    @classmethod
    def of(cls, model: Path) -> Sidecars:
        """Return what belongs to a model file."""
        stem = model.stem
        beside = [
            one for one in _listed(model.parent) if one.startswith(stem) and one != model.name
        ]
        endings = {name: name[len(stem) :].lower() for name in beside}
        found = tuple(model.with_name(name) for name in beside if endings[name] in _ENDINGS)
        return cls(stem, found, any(ending in _MODEL_SUFFIXES for ending in endings.values()))

    def renamed(self, model: Path) -> list[tuple[Path, Path]]:
        """Return each file with its path beside a model file of another name or place."""
        return [
            (path, model.with_name(f"{model.stem}{path.name[len(self.stem) :]}"))
            for path in self.paths
        ]


def find_preview(model: Path, names: dict[Path, frozenset[str]]) -> Path | None:
    """Return the picture of the same name beside a model file.

    Args:
        model: The file.
        names: Caches what is in each folder.
    """
    folder = model.parent
    if folder not in names:
        names[folder] = frozenset(_listed(folder))
    found = (f"{model.stem}{ending}" for ending in _PREVIEW_ENDINGS)
    return next((folder / name for name in found if name in names[folder]), None)


def read_notes(model: Path) -> str:
    """Return the notes about a model file: the description and notes of A1111's .json beside it, or else the .txt."""
    try:
        with model.with_suffix(".json").open("rb") as file:
            content: Any = json.loads(file.read(_MAX_NOTES_BYTES))
        parts = [content.get(key) for key in ("description", "activation text", "notes")]
        told = [part.strip() for part in parts if isinstance(part, str) and part.strip()]
        if told:
            return escape("\n".join(told))
    except (OSError, ValueError, AttributeError, RecursionError):
        pass  # none, or another program's
    try:
        with model.with_suffix(".txt").open("rb") as file:
            return decode_text(file.read(_MAX_NOTES_BYTES))[0].strip()
    except OSError:
        return ""


def move_together(model: Path, target: Path, sidecars: Sidecars) -> None:
    """Move a model file and what belongs to it; all or none. Nothing is overwritten.

    Shared files are copied instead.

    Raises:
        FileExistsError: one of the new names is taken.
        OSError: the disk refuses.
    """
    pairs = sidecars.renamed(target)
    for path, other in pairs:
        if os.path.lexists(other) and not other.samefile(path):
            raise FileExistsError(None, "exists", str(path), None, str(other))
    done: list[tuple[Path, Path]] = []
    try:
        for path, other in pairs:
            if sidecars.is_shared:
                shutil.copy2(path, other)
            else:
                shutil.move(path, other)
                done.append((path, other))
        shutil.move(model, target)
    except BaseException:
        for path, other in reversed(done):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                shutil.move(other, path)
        raise


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are enough, of thousands of files
    except OSError:
        return []
