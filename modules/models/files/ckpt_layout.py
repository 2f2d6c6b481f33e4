"""Where the numbers of a .ckpt lie in its file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import BadFile
from modules.models.files.safe_pickle import CkptContents

LOCAL_HEADER = struct.Struct("<26xHH")  # zip: only the lengths of name and extra field are of use
COUNT = struct.Struct("<q")
DAMAGED_FILE_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    KeyError,
    ValueError,
    RuntimeError,
)
MOST_INFLATION = (
    10  # weights hardly compress: an archive that grows more than so many times is a bomb
)


@dataclass(frozen=True)
class StorageLocation:
    """One storage in the file.

    Args:
        offset: Its first byte; of no use when it is packed.
        byte_count: Its size, unpacked.
        compressed_member: The archive's member that has to be unpacked; empty when the bytes lie there as they are.
    """

    offset: int
    byte_count: int
    compressed_member: str = ""


def locate_storages(
    path: Path, contents: CkptContents, *, is_zip: bool
) -> Mapping[str, StorageLocation]:
    """Return the place of every storage by key.

    Args:
        path: The file.
        contents: What its pickle names.
        is_zip: Whether the file is a zip archive.

    Raises:
        BadFile: the file is damaged, incomplete, a bomb, or from another kind of machine.
    """
    try:
        places = _in_archive(path, contents) if is_zip else _in_row(path, contents)
        size = path.stat().st_size
        if any(
            place.offset + place.byte_count > size
            for place in places.values()
            if not place.compressed_member
        ):
            raise ValueError("a storage beyond the end of the file")
    except DAMAGED_FILE_ERRORS as error:
        raise BadFile(f"'{path.name}' is incomplete or damaged.", "Download it again.") from error
    return places


def _in_archive(path: Path, content: CkptContents) -> dict[str, StorageLocation]:
    places: dict[str, StorageLocation] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        members = {info.filename: info for info in archive.infolist()}
        unpacked = sum(info.file_size for info in members.values())
        if unpacked > MOST_INFLATION * path.stat().st_size:
            raise ValueError("a zip bomb")
        order = members.get(f"{content.archive_prefix}byteorder")
        if order and archive.read(order) != b"little":
            raise BadFile(f"'{path.name}' comes from a big-endian machine, which is not supported.")
        for key, record in content.storages.items():
            info = members[f"{content.archive_prefix}data/{key}"]
            if info.file_size != record.byte_count:
                raise ValueError("a storage of another size than its record")
            if info.compress_type != zipfile.ZIP_STORED:
                places[key] = StorageLocation(0, record.byte_count, info.filename)
                continue
            raw.seek(info.header_offset)
            name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))
            start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
            places[key] = StorageLocation(start, record.byte_count)
    return places


def _in_row(path: Path, content: CkptContents) -> dict[str, StorageLocation]:
    places: dict[str, StorageLocation] = {}
    position = content.storages_offset
    with path.open("rb") as raw:
        for key in content.storage_keys:
            raw.seek(position)
            (count,) = COUNT.unpack(raw.read(COUNT.size))
            record = content.storages[key]
            if count != record.item_count:
                raise ValueError("a storage of another size than its record")
            places[key] = StorageLocation(position + COUNT.size, record.byte_count)
            position += COUNT.size + record.byte_count
    return places
