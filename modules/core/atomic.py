"""Atomic file writes: a file is either complete and on the disk, or as it was before."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO

SUFFIX = ".part"
_PART_NAME = re.compile(r"\.(?:.+\.)?(\d+)-\d+\.part", re.DOTALL)
_OWN_TIMEOUT_S = 24 * 3600  # an earlier server had the same process id, as in a container


class PartFile:
    """A temporary file that is renamed once it is complete.

    Args:
        path: Its path, in the folder of the final file.
        file: Open for writing.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = file

    def replace(self, path: Path) -> None:
        """Move the file to a path; an existing file is replaced, and hands down its permissions."""
        self._flush()
        with contextlib.suppress(OSError):  # there is none, or the disk has no permissions
            shutil.copymode(path, self.path)
        self.path.replace(path)
        _sync_folder(path.parent)

    def create(self, path: Path) -> None:
        """Move the file to a path that must not exist. After an error another path can be tried.

        Raises:
            FileExistsError: the path exists; it is not changed.
        """
        self._flush()
        try:
            os.link(self.path, path)  # fails when the name is taken, unlike a rename
        except FileExistsError:
            raise
        except OSError:  # FAT and some network disks have no hard links
            path.touch(exist_ok=False)
            try:
                self.path.replace(path)
            except BaseException:
                path.unlink()
                raise
        _sync_folder(path.parent)

    def _flush(self) -> None:
        if not self.file.closed:  # Windows renames only closed files
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()


@contextlib.contextmanager
def open_part(folder: Path, name: str = "") -> Generator[PartFile]:
    """Yield a temporary file in a folder; it is removed at the end in any case.

    Args:
        folder: Folder of the final file; must exist.
        name: Name of the final file if known, to identify what a killed process left.
    """
    path = folder / f"{_prefix(name)}{os.getpid()}-{threading.get_ident()}{SUFFIX}"
    try:
        with path.open("wb") as file:
            yield PartFile(path, file)
    finally:
        with contextlib.suppress(OSError):  # it must not hide the original error
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_writer(path: Path, *, overwrite: bool = True) -> Generator[IO[bytes]]:
    """Yield a file to write to; it becomes `path` when the block ends without an error. A link is kept: its target is replaced.

    Args:
        path: The final file; its folder must exist.
        overwrite: Whether an existing file is replaced.

    Raises:
        FileExistsError: `overwrite` is False and the path exists when the block ends.
    """
    target = Path(os.path.realpath(path)) if overwrite and path.is_symlink() else path
    with open_part(target.parent, target.name) as part:
        yield part.file
        if overwrite:
            part.replace(target)
        else:
            part.create(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file into an existing folder; an existing file is replaced."""
    with open_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 without changing line ends; an existing file is replaced."""
    write_bytes(path, text.encode("utf-8"))


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left for one final file."""
    for left in path.parent.iterdir():
        if left.name.startswith(_prefix(path.name)) and left.name.endswith(SUFFIX):
            left.unlink(missing_ok=True)


def remove_older_leftovers(folder: Path, before: float, *, recursive: bool = True) -> None:
    """Remove the temporary files in a folder that killed processes left before a time, in seconds since the epoch.

    Those of this process stay for a day: it may be writing them, and the time of a file is the clock of its disk, which
    can be behind that of the process.
    """
    own = str(os.getpid())
    for root, folders, names in os.walk(folder):
        if not recursive:
            folders.clear()
        for name in names:
            if match := _PART_NAME.fullmatch(name):
                path = Path(root, name)
                limit = before - _OWN_TIMEOUT_S if match[1] == own else before
                with contextlib.suppress(OSError):  # one that stays harms nothing
                    if path.stat().st_mtime < limit:
                        path.unlink()


def _prefix(name: str) -> str:
    return f".{name}." if name else "."


def _sync_folder(folder: Path) -> None:
    """Flush the directory entries of a folder to the disk, where the system can."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    with contextlib.suppress(OSError):  # some network disks refuse; the file itself is safe
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
