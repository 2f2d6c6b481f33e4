"""Unpacks a zip that nobody has looked at, and copies a folder: nothing outside the target, no links, within limits."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO

from modules.core.errors import BadFile
from modules.core.text import escape
from modules.engine.downloads.names import is_safe_name

MAX_FILES = 20_000
MAX_BYTES = 1 * 2**30
_CHUNK = 2**20


class _Limit:
    """Counts files and bytes of one extension."""

    def __init__(self, what: str, max_bytes: int = MAX_BYTES) -> None:
        self._what = what
        self._max_bytes = max_bytes
        self._file_count = 0
        self._byte_count = 0

    def add(self, files: int = 0, size: int = 0) -> None:
        self._file_count += files
        self._byte_count += size
        if self._file_count > MAX_FILES:
            raise BadFile(f"{self._what} has more than {MAX_FILES} files; that is no extension.")
        if self._byte_count > self._max_bytes:
            raise BadFile(
                f"{self._what} has more than {self._max_bytes // 2**20} MB; that is no extension.",
                "Models belong in the folders below models/.",
            )


def unpack_zip(file: IO[bytes], folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a zip into an empty folder.

    Every size is counted as it is read, whatever the archive's list says of it.

    Raises:
        BadFile: it is no zip, it is damaged, it is too large, or a name in it is a link or leads elsewhere.
        OSError: the disk refuses.
    """
    limit, seen = _Limit("The zip", max_bytes), set[str]()
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            limit.add(files=len(entries))
            for entry in entries:
                path = folder.joinpath(*_safe_parts(entry, seen))
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, path.open("xb") as target:
                    while chunk := source.read(_CHUNK):
                        limit.add(size=len(chunk))
                        target.write(chunk)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError) as error:
        raise BadFile(f"The zip cannot be read: {error}.", "Download it again.") from error
    except RuntimeError as error:  # a password, or an unknown compression
        raise BadFile(
            f"The zip cannot be read: {error}.", "Pack it again as a plain zip."
        ) from error


def _safe_parts(entry: zipfile.ZipInfo, seen: set[str]) -> list[str]:
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadFile(f"'{escape(name)}' in the zip is a link or a device, and no file.")
    parts = name.rstrip("/").split("/")
    if not all(map(_is_plain, parts)):
        raise BadFile(f"'{escape(name)}' in the zip is not a name inside a folder.")
    folded = "/".join(parts).casefold()
    if folded in seen:
        raise BadFile(f"'{escape(name)}' is in the zip twice.")
    seen.add(folded)
    return parts


def _is_plain(part: str) -> bool:
    """Return whether a part of a name is a name on every system; it may begin with a dot, as .gitignore does."""
    return is_safe_name(part.lstrip(".-_"))


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a folder's files into an empty one.

    Raises:
        BadFile: a link or a device is in it, or it is too large.
        OSError: the disk refuses.
    """
    check_folder(source)
    for root, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != "__pycache__"]
        target = folder / Path(root).relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(Path(root, name), target / name, follow_symlinks=False)


def check_folder(folder: Path) -> None:
    """Check that a folder holds folders and files alone, and not too many.

    Raises:
        BadFile: a link or a device is in it, or it is too large.
        OSError: it cannot be read.
    """
    limit = _Limit("The folder")
    for root, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            found = Path(root, name).lstat()
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                shown = escape(str(Path(root, name).relative_to(folder)))
                raise BadFile(f"'{shown}' in the folder is a link or a device, and no file.")
            limit.add(files=1, size=found.st_size if stat.S_ISREG(found.st_mode) else 0)


def _raise(error: OSError) -> None:
    raise error
