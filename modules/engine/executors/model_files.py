"""Model files on a machine that is not the server's: the same file at the same path, else a copy in a cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import BadFile, StorageError
from modules.models.file_cache import HashCache
from modules.models.files.scan import read_stamp
from modules.models.hashing import CHUNK_BYTES

# What stays free on the disk of a worker.
_SPARE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class FileFacts:
    """A file of the server's machine.

    Args:
        path: Where it is there.
        size_bytes: Its size.
        sha256: Its hash.
    """

    path: str
    size_bytes: int
    sha256: str


class FileHashes:
    """Hashes of files of this machine, each computed once. Thread-safe.

    Args:
        file: JSON file that keeps them, created on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._cache = HashCache(file)
        self._lock = threading.Lock()

    def facts(self, path: Path) -> FileFacts:
        """Return the facts of a file.

        Raises:
            BadFile: it cannot be read.
        """
        try:
            stamp = read_stamp(path)
            with self._lock:  # one at a time: several would only keep the disk from reading on
                digest = self._cache.get(stamp)
                if not digest:
                    digest = _hash_file(path)
                    self._cache.set(stamp, digest)
        except OSError as error:
            reason = error.strerror or error
            raise BadFile(f"'{path}' cannot be read: {reason}.", "Refresh the list.") from error
        return FileFacts(str(path), stamp.size_bytes, digest)


class ModelFileCache:
    """Files of the server's machine as they are on this one.

    Args:
        folder: Holds the copies, each in a folder with its hash for a name.
        spare_bytes: What stays free on the disk; the copies that were not used for longest make room.
    """

    def __init__(self, folder: Path, spare_bytes: int = _SPARE_BYTES) -> None:
        self._folder = folder
        self._spare_bytes = spare_bytes
        self._hashes = FileHashes(folder / "hashes.json")

    def missing(self, files: Sequence[FileFacts]) -> list[FileFacts]:
        """Return the files that are neither at their path, with the same content, nor among the copies."""
        return [file for file in files if self._find(file) is None]

    def places(self, files: Sequence[FileFacts]) -> dict[str, str]:
        """Return where the files are on this machine, by their paths on the server's; the missing ones are left out."""
        found = {file.path: self._find(file) for file in files}
        return {path: str(place) for path, place in found.items() if place is not None}

    def receive(self, file: FileFacts, offset: int, data: bytes) -> None:
        """Write a part of a file, which is used once it is complete.

        Args:
            file: The file.
            offset: Where the part begins; parts come in order.
            data: The part.

        Raises:
            StorageError: it cannot be written.
            BadFile: what has come is another file.
        """
        place = self._place(file)
        partial = place.with_name(f"{place.name}.part")
        try:
            if not offset:
                place.parent.mkdir(parents=True, exist_ok=True)
                self._make_room(file.size_bytes)
            with partial.open("r+b" if offset else "wb") as out:
                out.seek(offset)
                out.write(data)
            if offset + len(data) < file.size_bytes:
                return
            if _hash_file(partial) != file.sha256:
                partial.unlink()
                raise _changed_error(file)
            partial.replace(place)
        except OSError as error:
            raise StorageError(
                f"{platform.node()} cannot keep a copy of '{place.name}': {error.strerror or error}.",
                "Free some space there, or share the folder of models with it.",
            ) from error

    def _find(self, file: FileFacts) -> Path | None:
        same = Path(file.path)
        try:
            if same.stat().st_size == file.size_bytes and self._hashes.facts(same) == file:
                return same
        except (OSError, BadFile):  # not there, or not readable: a copy does as well
            pass
        place = self._place(file)
        try:
            os.utime(place)
        except OSError:
            return None
        return place if place.stat().st_size == file.size_bytes else None

    def _place(self, file: FileFacts) -> Path:
        return self._folder / file.sha256 / Path(file.path).name

    def _make_room(self, size_bytes: int) -> None:
        copies = [path for path in self._folder.glob("*/*") if path.is_file()]
        for copy in sorted(copies, key=lambda path: path.stat().st_mtime):
            if shutil.disk_usage(self._folder).free >= size_bytes + self._spare_bytes:
                return
            copy.unlink(missing_ok=True)  # another worker of this machine may make room, too
        if shutil.disk_usage(self._folder).free < size_bytes:
            raise OSError(f"{size_bytes / 1e9:.1f} GB are not free")


def read_part(file: FileFacts, offset: int, size_bytes: int = 4 * CHUNK_BYTES) -> bytes:
    """Return a part of a file of this machine.

    Raises:
        BadFile: it cannot be read, or has become shorter.
    """
    try:
        with Path(file.path).open("rb") as source:
            source.seek(offset)
            data = source.read(size_bytes)
    except OSError as error:
        raise BadFile(f"'{file.path}' cannot be read: {error.strerror or error}.") from error
    if len(data) < min(size_bytes, file.size_bytes - offset):
        raise _changed_error(file)
    return data


def _changed_error(file: FileFacts) -> BadFile:
    return BadFile(f"'{file.path}' changed while it was being sent.", "Try again.")


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
