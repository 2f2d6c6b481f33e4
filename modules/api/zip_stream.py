"""Zip archives that are sent while they are made, so that none is ever in memory or on the disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from modules.core.text import escape

_CHUNK = 2**18


class _Outbox(io.RawIOBase):
    """A file that cannot be sought; what is written to it is taken out again."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)  # type: ignore[call-overload]  # any buffer
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def stream_zip(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield a zip archive of files, which are stored as they are: images are compressed already.

    Args:
        paths: The files; of two with one name the second gets a number. One that is gone meanwhile is left out.
    """
    outbox = _Outbox()
    taken: set[str] = set()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            try:
                info = zipfile.ZipInfo.from_file(path, _free_name(path, taken))
                file = path.open("rb")
            except (OSError, ValueError):  # ValueError: a date before 1980
                continue
            with file, archive.open(info, "w", force_zip64=True) as member:
                while chunk := file.read(_CHUNK):
                    member.write(chunk)
                    yield outbox.take()
    yield outbox.take()


def _free_name(path: Path, taken: set[str]) -> str:
    name, number = escape(path.name), 1
    while name.casefold() in taken:
        number += 1
        name = escape(f"{path.stem}-{number}{path.suffix}")
    taken.add(name.casefold())
    return name
