"""Opens the zip archive of a .ckpt within bounds: its directory, and how its members are compressed."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

# A checkpoint has a member for each tensor, with about 100 bytes in the directory.
MAX_DIRECTORY_BYTES = 4_000_000
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound


@contextmanager
def open_archive(path: Path) -> Generator[zipfile.ZipFile]:
    """Open the archive of a .ckpt.

    Raises:
        BadZipFile: it is damaged, or has more members than any checkpoint.
    """
    with path.open("rb") as file:
        limited = _LimitedReads(file, MAX_DIRECTORY_BYTES)
        with zipfile.ZipFile(limited) as archive:
            limited.limit = sys.maxsize  # the directory has been read
            yield archive


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> IO[bytes]:
    """Open a member of an archive.

    Raises:
        ValueError: it is longer than that, or compressed by a method that no checkpoint has.
    """
    if info.file_size > max_bytes or info.compress_type not in COMPRESSIONS:
        raise ValueError("a member that no checkpoint has")
    return archive.open(info)


class _LimitedReads:
    """A file that refuses to read much at once."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self.limit = limit
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes."""
        data = self._file.read(min(count, self.limit) if count >= 0 else self.limit)
        if len(data) == self.limit:
            raise zipfile.BadZipFile("a directory longer than any checkpoint has")
        return data
