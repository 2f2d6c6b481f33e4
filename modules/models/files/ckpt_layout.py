"""Locates the storages of a .ckpt (the bytes of its tensors) in the file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import BadFile
from modules.models.files.archive import COMPRESSIONS, open_archive, open_member
from modules.models.files.safe_pickle import CkptContents

LOCAL_HEADER = struct.Struct("<26xHH")  # zip: only the lengths of name and extra field are needed
COUNT = struct.Struct("<q")
DAMAGED_FILE_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    RuntimeError,
    ArithmeticError,
)
# Weights hardly compress: an archive that expands by more than this factor is a zip bomb.
MAX_EXPANSION = 10


@dataclass(frozen=True)
class StorageLocation:
    """One storage in the file.

    Args:
        offset: Byte position in the file; 0 when compressed.
        byte_count: Its size, uncompressed.
        compressed_member: The archive's member to decompress; empty when it is stored uncompressed.
    """

    offset: int
    byte_count: int
    compressed_member: str = ""


def locate_storages(
    path: Path, contents: CkptContents, *, is_zip: bool
) -> Mapping[str, StorageLocation]:
    """Return the location of every storage by key.

    Args:
        path: The file.
        contents: Its unpickled contents.
        is_zip: Whether the file is a zip archive.

    Raises:
        BadFile: the file is damaged, incomplete, a zip bomb, or from a big-endian machine.
    """
    try:
        locations = _locate_in_zip(path, contents) if is_zip else _locate_in_legacy(path, contents)
        size = path.stat().st_size
        if any(
            location.offset + location.byte_count > size
            for location in locations.values()
            if not location.compressed_member
        ):
            raise ValueError("a storage beyond the end of the file")
    except DAMAGED_FILE_ERRORS as error:
        raise BadFile(f"'{path.name}' is incomplete or damaged.", "Download it again.") from error
    return locations


def _locate_in_zip(path: Path, contents: CkptContents) -> dict[str, StorageLocation]:
    locations: dict[str, StorageLocation] = {}
    with open_archive(path) as archive, path.open("rb") as raw:
        members = {info.filename: info for info in archive.infolist()}
        expanded = sum(info.file_size for info in members.values())
        if expanded > MAX_EXPANSION * path.stat().st_size:
            raise ValueError("a zip bomb")
        order = members.get(f"{contents.archive_prefix}byteorder")
        if order and open_member(archive, order, max_bytes=len("little")).read() != b"little":
            raise BadFile(f"'{path.name}' comes from a big-endian machine, which is not supported.")
        for key, record in contents.storages.items():
            info = members[f"{contents.archive_prefix}data/{key}"]
            if info.file_size != record.byte_count:
                raise ValueError("a storage of another size than its record")
            if info.compress_type not in COMPRESSIONS:
                raise ValueError("a storage compressed in a way that no checkpoint is")
            if info.compress_type != zipfile.ZIP_STORED:
                locations[key] = StorageLocation(0, record.byte_count, info.filename)
                continue
            raw.seek(info.header_offset)
            name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))
            start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
            locations[key] = StorageLocation(start, record.byte_count)
    return locations


def _locate_in_legacy(path: Path, contents: CkptContents) -> dict[str, StorageLocation]:
    locations: dict[str, StorageLocation] = {}
    position = contents.storages_offset
    with path.open("rb") as raw:
        for key in contents.storage_keys:
            raw.seek(position)
            (count,) = COUNT.unpack(raw.read(COUNT.size))
            record = contents.storages[key]
            if count != record.item_count:
                raise ValueError("a storage of another size than its record")
            locations[key] = StorageLocation(position + COUNT.size, record.byte_count)
            position += COUNT.size + record.byte_count
    return locations
