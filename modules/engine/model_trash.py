"""The trash of model files: a hidden folder in each folder of models, so that deleting never copies gigabytes."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.atomic import write_text
from modules.core.errors import NotFound, StorageError, UserError
from modules.core.text import escape
from modules.engine.model_sidecars import Sidecars, move_together

TRASH = ".trash"
_RECORD = "trash.json"


@dataclass(frozen=True)
class Trashed:
    """One deleted file.

    Args:
        id: Its identity.
        kind: Its row of KINDS.
        name: Of the file, with its folder below that of its kind.
        size_bytes: With what belonged to it.
        deleted: When, in seconds since the epoch.
    """

    id: str
    kind: str
    name: str
    size_bytes: int
    deleted: float


class ModelTrash:
    """Keeps deleted files until they are erased.

    Args:
        folders: Returns each folder of models with its kind.
    """

    def __init__(self, folders: Callable[[], Iterable[tuple[str, Path]]]) -> None:
        self._folders = folders

    def put(self, kind: str, path: Path, sidecars: Sidecars) -> Trashed:
        """Move a file into the trash, with what belongs to it alone.

        Raises:
            StorageError: the disk refuses.
        """
        root = next(folder for _, folder in self._folders() if folder in path.parents)
        place = root / TRASH / secrets.token_hex(8)
        record = {"kind": kind, "name": path.relative_to(root).as_posix(), "deleted": time.time()}
        own = sidecars if not sidecars.is_shared else Sidecars(sidecars.stem, (), False)
        try:
            place.mkdir(parents=True)
            write_text(place / _RECORD, json.dumps(record))
            move_together(path, place / path.name, own)
        except OSError as error:
            with contextlib.suppress(OSError):  # whatever could not be put back stays there
                (place / _RECORD).unlink()
                place.rmdir()
            raise StorageError(
                f"'{escape(str(path))}' cannot be moved to the trash: {error.strerror or error}.",
                "Allow writing to the folder, and close what has the file open.",
            ) from error
        return _read(place)[0]

    def entries(self) -> list[Trashed]:
        """Return what is in the trash, newest first."""
        places = {place for _, folder in self._folders() for place in (folder / TRASH).glob("*/")}
        found = [_read(place)[0] for place in places if (place / _RECORD).is_file()]
        return sorted(found, key=lambda one: -one.deleted)

    def restore(self, trash_id: str) -> Path:
        """Put a file back where it was and return its path.

        Raises:
            NotFound: it is not in the trash.
            UserError: its name is taken.
            StorageError: the disk refuses.
        """
        place = self._find(trash_id)
        entry, files = _read(place)
        target = place.parent.parent / entry.name
        if target.exists():
            raise UserError(
                f"'{target}' exists again and is not overwritten.", "Move it away first."
            )
        model = place / target.name
        sidecars = tuple(path for path in files if path != model)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            move_together(model, target, Sidecars(target.stem, sidecars, False))
        except FileExistsError as error:
            raise UserError(f"'{error.filename2}' exists again and is not overwritten.") from None
        except OSError as error:
            raise StorageError(
                f"'{target}' cannot be written: {error.strerror or error}."
            ) from error
        shutil.rmtree(place, ignore_errors=True)
        return target

    def erase(self, trash_id: str) -> None:
        """Delete a file for good.

        Raises:
            NotFound: it is not in the trash.
            StorageError: the disk refuses.
        """
        place = self._find(trash_id)
        try:
            shutil.rmtree(place)
        except OSError as error:
            raise StorageError(
                f"'{place}' cannot be deleted: {error.strerror or error}."
            ) from error

    def _find(self, trash_id: str) -> Path:
        for _, folder in self._folders():
            for place in (folder / TRASH).glob("*/"):
                if place.name == trash_id and (place / _RECORD).is_file():
                    return place
        raise NotFound("This file is no longer in the trash.", "Refresh the list.")


def _read(place: Path) -> tuple[Trashed, list[Path]]:
    """Return the record of a place in the trash, and its other files."""
    files = [path for path in place.iterdir() if path.name != _RECORD]
    try:
        record: dict[str, Any] = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        kind, name, deleted = str(record["kind"]), str(record["name"]), float(record["deleted"])
    except (OSError, ValueError, KeyError, TypeError):
        kind, name, deleted = "", "", 0.0
    if not name or ".." in Path(name).parts or Path(name).is_absolute():
        name = max(files, key=lambda path: path.stat().st_size).name if files else place.name
    size = sum(path.stat().st_size for path in files)
    return Trashed(place.name, kind, name, size, deleted), files
