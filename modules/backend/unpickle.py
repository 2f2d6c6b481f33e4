"""Tensors of a .ckpt file. Its pickle is never run: `modules.models.pickled` says where each tensor lies."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor, UntypedStorage

from modules.core.errors import BadFile
from modules.models import pickled
from modules.models.pickled import Pickled, TensorRecord

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
LOCAL_HEADER = struct.Struct("<26xHH")  # zip: only the lengths of name and extra field are of use
COUNT = struct.Struct("<q")
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError, RuntimeError)
MOST_INFLATION = (
    10  # weights hardly compress: an archive that grows more than so many times is a bomb
)
ALIGNMENT = 8  # of the widest dtype; torch must not be given an odd address


def read_tensors(path: Path, file: UntypedStorage, *, zipped: bool) -> dict[str, Tensor]:
    """Return the tensors of a .ckpt, on the CPU, in the file's dtypes, mapped rather than read.

    Args:
        path: The file.
        file: Its bytes, mapped.
        zipped: Whether the file is a zip archive, as all are that PyTorch 1.6 or later wrote.

    Raises:
        BadFile: the file is damaged, incomplete, or asks for code.
    """
    content = pickled.read(path, zipped=zipped)
    try:
        load = _load_zipped if zipped else _load_legacy
        loaded = load(path, content, file)
        return {
            name: _view(tensor, loaded[tensor.storage.key])
            for name, tensor in content.tensors.items()
        }
    except DAMAGE as error:
        raise BadFile(f"'{path.name}' is incomplete or damaged.", "Download it again.") from error


def _view(record: TensorRecord, storage: UntypedStorage) -> Tensor:
    empty = torch.empty(0, dtype=DTYPES[record.dtype])
    return empty.set_(storage, record.offset, record.shape, record.stride)  # pyright: ignore[reportArgumentType]


def _load_zipped(path: Path, content: Pickled, file: UntypedStorage) -> dict[str, UntypedStorage]:
    loaded: dict[str, UntypedStorage] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
        members = {info.filename: info for info in archive.infolist()}
        if sum(info.file_size for info in members.values()) > MOST_INFLATION * file.nbytes():
            raise ValueError("a zip bomb")
        order = members.get(f"{content.prefix}byteorder")
        if order and archive.read(order) != b"little":
            raise BadFile(f"'{path.name}' comes from a big-endian machine, which is not supported.")
        for key, record in content.storages.items():
            info = members[f"{content.prefix}data/{key}"]
            if info.file_size != record.byte_count:
                raise ValueError("a storage of another size than its record")
            if info.compress_type != zipfile.ZIP_STORED:
                loaded[key] = _copied(archive.read(info))
                continue
            raw.seek(info.header_offset)
            name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))
            start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
            loaded[key] = _slice(file, start, record.byte_count)
    return loaded


def _load_legacy(path: Path, content: Pickled, file: UntypedStorage) -> dict[str, UntypedStorage]:
    loaded: dict[str, UntypedStorage] = {}
    position = content.storages_at
    with path.open("rb") as raw:
        for key in content.storage_keys:
            raw.seek(position)
            (count,) = COUNT.unpack(raw.read(COUNT.size))
            record = content.storages[key]
            if count != record.item_count:
                raise ValueError("a storage of another size than its record")
            loaded[key] = _slice(file, position + COUNT.size, record.byte_count)
            position += COUNT.size + record.byte_count
    return loaded


def _slice(file: UntypedStorage, start: int, byte_count: int) -> UntypedStorage:
    if start + byte_count > file.nbytes():
        raise ValueError("a storage beyond the end of the file")
    part = file[start : start + byte_count]
    return part if start % ALIGNMENT == 0 else part.clone()


def _copied(data: bytes) -> UntypedStorage:
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
        if data
        else UntypedStorage(0)
    )
