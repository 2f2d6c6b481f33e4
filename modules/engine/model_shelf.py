"""ModelShelf: the model files as the Models tab shows and changes them. Files are addressed by ids, never by paths."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import NotFound, StorageError, UserError
from modules.core.paths import Paths
from modules.engine.downloads.names import check_name
from modules.engine.model_problems import ModelProblems
from modules.engine.model_sidecars import (
    PREVIEWS,
    Sidecars,
    find_preview,
    move_together,
    write_notes,
)
from modules.engine.model_trash import ModelTrash, Trashed
from modules.models.checkpoint import Checkpoint
from modules.models.files.convert import convert_to_safetensors
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import CHECKPOINT, ModelKind

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShelfRow:
    """One file.

    Args:
        id: Its identity as long as it is where it is.
        kind: Its row of KINDS.
        file: The file.
        preview: A picture of the same name next to it.
        is_shipped: Whether it belongs to the program.
    """

    id: str
    kind: ModelKind
    file: ModelFile
    preview: Path | None
    is_shipped: bool


class ModelShelf:
    """Lists, renames, moves and deletes model files with what belongs to them.

    Args:
        models: Lists the files.
        paths: The folders; files of the program itself stay where they are.
        used_paths: Returns the files that the loaded checkpoint and the jobs use.
        on_renamed: Called with a kind and the old and new name of a file.
    """

    def __init__(
        self,
        models: ModelIndex,
        paths: Paths,
        used_paths: Callable[[], Iterable[Path]],
        on_renamed: Callable[[str, str, str], None],
    ) -> None:
        self._models = models
        shipped = paths.root / "models"
        self._shipped = (
            shipped / "Stable-diffusion" / "demo",
            shipped / "Lora" / "demo-snow.safetensors",
            shipped / "ControlNet" / "demo-outline.safetensors",
            shipped / "RealESRGAN" / "realesr-animevideov3.safetensors",
        )
        self._used_paths = used_paths
        self._on_renamed = on_renamed
        self._trash = ModelTrash(self._all_folders)
        self._problems = ModelProblems(models)

    def rows(self) -> list[ShelfRow]:
        """Return every file of every kind that has a folder, by kind and name."""
        names: dict[Path, frozenset[str]] = {}
        return [
            ShelfRow(
                file_id(kind, file),
                kind,
                file,
                find_preview(file.path, names),
                any(path in (file.path, *file.path.parents) for path in self._shipped),
            )
            for kind in self._models.kinds
            if self._models.folders(kind.name)
            for file in self._models.files(kind.name)
        ]

    def find(self, row_id: str) -> ShelfRow:
        """Return a file by its id.

        Raises:
            NotFound: it is gone, or has another name.
        """
        row = next((row for row in self.rows() if row.id == row_id), None)
        if row is None or not row.file.path.exists():
            raise NotFound("This model file is no longer where it was.", "Refresh the list.")
        return row

    def find_problem(self, row: ShelfRow) -> str:
        """Return why a file is of no use where it is, in a sentence, "" if nothing is wrong with it.

        A file of another kind says where it belongs; `move_home` moves it there.
        """
        return self._problems.find(row.kind, row.file)

    def refresh(self) -> None:
        """Read all folders again."""
        for kind in self._models.kinds:
            if self._models.folders(kind.name) and not kind.has_families:
                self._models.files(kind.name)
        self._models.refresh(CHECKPOINT)  # and with it those of all kinds in use

    def preview(self, row_id: str) -> Path:
        """Return the preview of a file.

        Raises:
            NotFound: it has none.
        """
        found = self.find(row_id).preview
        if found is None or found.suffix.lower() not in PREVIEWS:
            raise NotFound(
                "This model file has no preview.", "Put a picture of its name beside it."
            )
        return found

    def rename(self, row_id: str, name: str) -> str:
        """Rename a file in its folder, with what belongs to it; return its new id.

        Args:
            row_id: The file.
            name: Its new name; the ending may be left out.

        Raises:
            UserError: it is in use or shipped, or the name is taken or none.
            NotFound: it is gone.
            StorageError: the disk refuses.
        """
        row = self._find_movable(row_id)
        name, path = name.strip(), row.file.path
        if not name.lower().endswith(row.kind.suffixes):
            name += path.suffix
        return self._move(row, path.with_name(check_name(name, row.kind)), row.kind)

    def move_home(self, row_id: str) -> str:
        """Move a file to the folder of the kind that it really is; return its new id.

        Raises:
            UserError: it is there already, in use or shipped, or there is no folder for it.
            BadFile: it cannot be read.
            NotFound: it is gone.
            StorageError: the disk refuses.
        """
        row = self._find_movable(row_id)
        kind = self._models.detect(read_header(row.file.path)).kind
        kind = kind and self._models.home_of(kind)
        if kind is None or not self._models.folders(kind.name):
            what = kind.noun if kind else "model of an unknown kind"
            raise UserError(f"'{row.file.name}' is a {what}, and there is no folder for those.")
        folder = self._models.folders(kind.name)[0]
        if any(one in row.file.path.parents for one in self._models.folders(kind.name)):
            raise UserError(f"'{row.file.name}' is a {kind.noun} and in the right folder already.")
        return self._move(row, folder / check_name(row.file.path.name, kind), kind)

    def set_notes(self, row_id: str, text: str) -> None:
        """Write the notes about a file next to it; see `write_notes`.

        Raises:
            UserError: it is shipped, the notes are too long, or its .json is another program's.
            NotFound: it is gone.
            StorageError: the disk refuses.
        """
        row = self.find(row_id)
        if row.is_shipped:
            raise UserError(f"'{row.file.name}' belongs to the program, and gets no notes.")
        try:
            write_notes(row.file.path, text)
        except OSError as error:
            raise StorageError(
                f"The notes of '{row.file.name}' cannot be written: {error.strerror or error}.",
                "Allow writing to the folder.",
            ) from error

    def delete(self, row_id: str) -> Trashed:
        """Move a file to the trash, with what belongs to it.

        Raises:
            UserError: it is in use or shipped.
            NotFound: it is gone.
            StorageError: the disk refuses.
        """
        row = self._find_movable(row_id)
        trashed = self._trash.put(row.kind.name, row.file.path, Sidecars.of(row.file.path))
        self.refresh()
        return trashed

    def list_trashed(self) -> list[Trashed]:
        """Return the deleted files, newest first."""
        return self._trash.entries()

    def restore(self, trash_id: str) -> None:
        """Put a deleted file back where it was.

        Raises:
            NotFound: it is not in the trash.
            UserError: its name is taken.
            StorageError: the disk refuses.
        """
        self._trash.restore(trash_id)
        self.refresh()

    def erase(self, trash_id: str) -> None:
        """Delete a file of the trash for good.

        Raises:
            NotFound: it is not in the trash.
            StorageError: the disk refuses.
        """
        self._trash.erase(trash_id)

    def convert(self, row_id: str) -> None:
        """Write a .ckpt's numbers into a .safetensors next to it; the .ckpt stays.

        Raises:
            UserError: it is no checkpoint, or is converted already.
            BadFile: it cannot be read.
            NotFound: it is gone.
            StorageError: the disk refuses.
        """
        row = self.find(row_id)
        if not isinstance(row.file, Checkpoint):
            raise UserError(f"'{row.file.name}' is no checkpoint.", "Only those are converted.")
        convert_to_safetensors(row.file.path)
        self._models.refresh()

    def sha256(self, row_id: str, timeout_s: float) -> str:
        """Return the hash of a file; "" if it is not known after the timeout."""
        return self._models.sha256(self.find(row_id).file, timeout_s)

    def _find_movable(self, row_id: str) -> ShelfRow:
        row = self.find(row_id)
        if row.is_shipped:
            raise UserError(
                f"'{row.file.name}' belongs to the program and stays where it is.",
                "Choose another checkpoint if you do not want to use it.",
            )
        if any(is_same(path, row.file.path) for path in self._used_paths()):
            raise UserError(
                f"'{row.file.name}' is in use by the chosen checkpoint or a job in the queue.",
                "Choose another checkpoint, and let the jobs end first.",
            )
        return row

    def _move(self, row: ShelfRow, target: Path, kind: ModelKind) -> str:
        if os.path.lexists(target) and not is_same(target, row.file.path):
            raise UserError(
                f"'{target}' exists already and is not overwritten.", "Use another name."
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            move_together(row.file.path, target, Sidecars.of(row.file.path))
        except FileExistsError as error:
            raise UserError(
                f"'{error.filename2 or error.filename}' exists already and is not overwritten."
            ) from None
        except OSError as error:
            raise StorageError(
                f"'{row.file.shown_path}' cannot be moved: {error.strerror or error}.",
                "Allow writing to the folder, and close what has the file open.",
            ) from error
        self._models.refresh(row.kind.name)
        self._models.refresh(kind.name)
        moved = next((f for f in self._models.files(kind.name) if f.path == target), None)
        if moved is None:
            return ""
        if kind is row.kind:
            self._on_renamed(kind.name, row.file.name, moved.name)
        return file_id(kind, moved)

    def _all_folders(self) -> Iterator[tuple[str, Path]]:
        for kind in self._models.kinds:
            for folder in self._models.folders(kind.name):
                yield kind.name, folder


def file_id(kind: ModelKind, file: ModelFile) -> str:
    """Return the id of a file."""
    return hashlib.sha256(f"{kind.name}\0{file.shown_path}".encode()).hexdigest()[:20]


def is_same(path: Path, other: Path) -> bool:
    """Return whether two paths are one file, on disks without capitals too."""
    return path == other or (path.exists() and other.exists() and path.samefile(other))
