"""Walks folders for model files. Links are followed, loops are not; hidden files are skipped."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from typing_extensions import Self

from modules.core.text import escape

logger = logging.getLogger(__name__)

CONFIG_SUFFIXES = (".yaml", ".yml")  # in any case, best first


@dataclass(frozen=True)
class ModelFile:
    """A model file in a scanned folder.

    Args:
        name: Path relative to that folder, with forward slashes; bytes that are not UTF-8 are escaped.
        path: Absolute, links not resolved.
        size_bytes: 0 for a broken link.
        modified_ns: Modification time.
        config: The .yaml or .yml of the same name in its folder, if there is one.
    """

    name: str
    path: Path
    size_bytes: int
    modified_ns: int
    config: Path | None

    @property
    def stamp(self) -> FileStamp:
        """Identity of the content that was found."""
        return FileStamp(str(self.path), self.size_bytes, self.modified_ns)

    @property
    def file_name(self) -> str:
        """Name without folder, escaped like `name`."""
        return escape(self.path.name)

    @property
    def stem(self) -> str:
        """Name without folder and extension, escaped like `name`."""
        return escape(self.path.stem)

    @property
    def shown_path(self) -> str:
        """The path as text that can be sent and shown."""
        return escape(str(self.path))

    @property
    def name_warning(self) -> str:
        """What is wrong with the name, as a sentence; "" for most files."""
        if self.path.as_posix().endswith(self.name):
            return ""
        return "Its name is not UTF-8; rename the file."

    def with_current_stamp(self) -> Self | None:
        """Return it with its current size and modification time, or None when it is gone."""
        try:
            stamp = read_stamp(self.path)
        except OSError:
            return None
        return dataclasses.replace(self, size_bytes=stamp.size_bytes, modified_ns=stamp.modified_ns)


def scan_folder(
    folder: Path,
    suffixes: tuple[str, ...],
    excluded: tuple[str, ...] = (),
    skipped: Collection[Path] = (),
) -> Iterator[ModelFile]:
    """Yield every file with one of the suffixes in the folder and its subfolders, in no particular order.

    Args:
        folder: The root of the scan; it may be absent.
        suffixes: In lower case.
        excluded: Longer suffixes of files to skip, in lower case.
        skipped: Subfolders to skip, absolute.
    """
    folder = folder.absolute()
    pending = deque([folder])
    pending_links: deque[Path] = deque()
    visited: set[tuple[int, int]] = set()
    while pending or pending_links:  # real folders first: a link to one must not take its name
        current = pending.popleft() if pending else pending_links.popleft()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            if current != folder or folder.exists():
                logger.warning("'%s' cannot be listed: %s", current, error)
            continue
        files: list[os.DirEntry[str]] = []
        for entry in entries:
            if _is_folder(entry):
                if Path(entry.path) in skipped:
                    continue
                (pending_links if entry.is_symlink() else pending).append(Path(entry.path))
            else:
                files.append(entry)
        matching = [file for file in files if _has_suffix(file.name, suffixes, excluded)]
        yield from _found_files(matching, {file.name for file in files}, folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to a folder that may not be read
        return False


def _has_suffix(name: str, suffixes: tuple[str, ...], excluded: tuple[str, ...]) -> bool:
    lowered = name.lower()
    return lowered.endswith(suffixes) and not lowered.endswith(excluded)


def _found_files(
    entries: list[os.DirEntry[str]], names: set[str], folder: Path
) -> Iterator[ModelFile]:
    configs = _find_configs(names)
    for entry in entries:
        path = Path(entry.path)
        config = configs.get(path.stem)
        try:
            status = entry.stat()
            if not stat.S_ISREG(status.st_mode):
                continue  # opening a pipe would wait for ever
            size, modified = status.st_size, status.st_mtime_ns
        except OSError:
            size, modified = 0, 0
        yield ModelFile(
            name=escape(path.relative_to(folder).as_posix()),
            path=path,
            size_bytes=size,
            modified_ns=modified,
            config=path.with_name(config) if config else None,
        )


def _find_configs(names: set[str]) -> dict[str, str]:
    """Return the config of each stem: a ".yaml" before a ".yml", a suffix in lower case before another."""
    configs: dict[str, str] = {}
    for suffix in reversed(CONFIG_SUFFIXES):
        for name in sorted(names):  # capitals come first: the last one counts
            if name.lower().endswith(suffix):
                configs[name[: -len(suffix)]] = name
    return configs


class FileStamp(NamedTuple):
    """Identity of a file's content: another size or modification time means another content."""

    path: str
    size_bytes: int
    modified_ns: int


def read_stamp(path: Path) -> FileStamp:
    """Return the stamp of a file as it is now.

    Raises:
        OSError: it cannot be found.
    """
    status = path.stat()
    return FileStamp(str(path), status.st_size, status.st_mtime_ns)
