"""The small files that belong to a model file, such as its .yaml and its preview, and moving all of them together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.atomic import write_text
from modules.core.errors import UserError
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
        neighbours = [
            one for one in _list_names(model.parent) if one.startswith(stem) and one != model.name
        ]
        endings = {name: name[len(stem) :].lower() for name in neighbours}
        found = tuple(model.with_name(name) for name in neighbours if endings[name] in _ENDINGS)
        return cls(stem, found, any(ending in _MODEL_SUFFIXES for ending in endings.values()))

    def rename_pairs(self, model: Path) -> list[tuple[Path, Path]]:
        """Return each file with its path next to a model file of another name or place."""
        return [
            (path, model.with_name(f"{model.stem}{path.name[len(self.stem) :]}"))
            for path in self.paths
        ]


def find_preview(model: Path, names: dict[Path, frozenset[str]]) -> Path | None:
    """Return the picture of the same name next to a model file.

    Args:
        model: The file.
        names: Caches what is in each folder.
    """
    folder, stem = model.parent, model.stem  # a list asks for thousands
    listed = names.get(folder)
    if listed is None:
        listed = names[folder] = frozenset(_list_names(folder))
    for ending in _PREVIEW_ENDINGS:
        if stem + ending in listed:
            return folder / (stem + ending)
    return None


@dataclass(frozen=True)
class Notes:
    """What is written about a model file.

    Args:
        description: The description and activation text of A1111's .json next to it; only read.
        notes: The notes of that .json, or else the .txt next to it; the page changes these.
    """

    description: str
    notes: str


def read_notes(model: Path) -> Notes:
    """Return the facts in the files next to a model file."""
    content = _read_json(model.with_suffix(".json")) or {}
    parts = [content.get(key) for key in ("description", "activation text")]
    descriptions = [part.strip() for part in parts if isinstance(part, str) and part.strip()]
    notes = content.get("notes")
    if not isinstance(notes, str) or not notes.strip():
        notes = _read_text(model.with_suffix(".txt"))
    return Notes(escape("\n".join(descriptions)), escape(notes.strip()))


def write_notes(model: Path, text: str) -> None:
    """Write the notes: into A1111's .json, whose other keys stay, or into the .txt where only that is there.

    Raises:
        UserError: they are too long, or the .json is none of A1111.
        OSError: the disk refuses.
    """
    if len(text.encode()) > _MAX_NOTES_BYTES // 2:
        raise UserError(
            f"The notes have {len(text)} letters; at most {_MAX_NOTES_BYTES // 2} are kept."
        )
    path, plain = model.with_suffix(".json"), model.with_suffix(".txt")
    if plain.exists() and plain.stat().st_size > _MAX_NOTES_BYTES:  # only its beginning was shown
        raise UserError(f"'{plain.name}' is too long to be changed here.", "Use a text editor.")
    if plain.exists() and not path.exists():
        write_text(plain, text)
        return
    content = _read_json(path) if path.exists() else {}
    if content is None:
        raise UserError(
            f"'{path.name}' holds no notes of A1111's format.", "Rename that file, and save again."
        )
    write_text(path, json.dumps({**content, "notes": text}, indent=4, ensure_ascii=False))


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a small .json that holds an object; None if there is none."""
    try:
        with path.open("rb") as file:
            content: Any = json.loads(file.read(_MAX_NOTES_BYTES))
    except (OSError, ValueError, RecursionError):
        return None  # none, or another program's
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return decode_text(file.read(_MAX_NOTES_BYTES))[0]
    except OSError:
        return ""


def move_together(model: Path, target: Path, sidecars: Sidecars) -> None:
    """Move a model file and what belongs to it; all or none. Nothing is overwritten.

    Shared files are copied instead.

    Raises:
        FileExistsError: one of the new names is taken.
        OSError: the disk refuses.
    """
    pairs = sidecars.rename_pairs(target)
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
            with contextlib.suppress(OSError):  # the first error is reported
                shutil.move(other, path)
        raise


def _list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are enough, of thousands of files
    except OSError:
        return []
