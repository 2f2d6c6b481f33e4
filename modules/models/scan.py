"""Walks a folder for checkpoint files: links followed, loops not, hidden ones skipped."""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EXTENSIONS = (".safetensors", ".ckpt")
# A1111's names for the VAE beside a checkpoint, best first
VAE_EXTENSIONS = (".vae.safetensors", ".vae.pt", ".vae.ckpt")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundFile:
    """A checkpoint file in a scanned folder.

    Args:
        name: Path relative to that folder, with forward slashes.
        size_bytes: 0 for a link that leads nowhere.
        config: The .yaml beside it, if there is one.
    """

    name: str
    path: Path
    size_bytes: int
    modified_ns: int
    config: Path | None

    @property
    def stamp(self) -> FileStamp:
        """What the file is now, to be compared with what it was."""
        return FileStamp(str(self.path), self.size_bytes, self.modified_ns)


def scan_folder(
    folder: Path,
    extensions: tuple[str, ...] = EXTENSIONS,
    excluded: tuple[str, ...] = VAE_EXTENSIONS,
) -> Iterator[FoundFile]:
    """Yield every file with one of the endings in the folder and below, in no particular order.

    Args:
        folder: Where to begin.
        extensions: In lower case; those of checkpoints unless given.
        excluded: Endings of files that are not meant all the same.
    """
    folder = folder.absolute()
    waiting = deque([folder])
    linked: deque[Path] = deque()
    seen: set[tuple[int, int]] = set()
    while waiting or linked:  # real folders first: a link to one must not take its name
        current = waiting.popleft() if waiting else linked.popleft()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            if current != folder or folder.exists():
                logger.warning("'%s' cannot be listed: %s", current, error)
            continue
        files: list[os.DirEntry[str]] = []
        for entry in entries:
            if _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(Path(entry.path))
            else:
                files.append(entry)
        wanted = [file for file in files if _ends(file.name, extensions, excluded)]
        yield from _described(wanted, {file.name for file in files}, folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where we may not look
        return False


def _ends(name: str, endings: tuple[str, ...], but_not: tuple[str, ...]) -> bool:
    lowered = name.lower()
    return lowered.endswith(endings) and not lowered.endswith(but_not)


def _described(
    entries: list[os.DirEntry[str]], names: set[str], folder: Path
) -> Iterator[FoundFile]:
    for entry in entries:
        path = Path(entry.path)
        config = path.with_suffix(".yaml")
        try:
            status = entry.stat()
            if not stat.S_ISREG(status.st_mode):
                continue  # opening a pipe would wait for ever
            size, modified = status.st_size, status.st_mtime_ns
        except OSError:
            size, modified = 0, 0
        yield FoundFile(
            name=path.relative_to(folder).as_posix(),
            path=path,
            size_bytes=size,
            modified_ns=modified,
            config=config if config.name in names else None,
        )


class FileStamp(NamedTuple):
    """A file as it was at one time: another size or time is another content."""

    path: str
    size_bytes: int
    modified_ns: int
