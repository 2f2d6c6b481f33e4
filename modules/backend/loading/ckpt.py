"""Tensors of a .ckpt file. Its pickle is never run: `modules.models.files.safe_pickle` locates each tensor."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, UntypedStorage

from modules.core.errors import BadFile
from modules.models.files import safe_pickle
from modules.models.files.archive import open_archive
from modules.models.files.ckpt_layout import DAMAGED_FILE_ERRORS, StorageLocation, locate_storages
from modules.models.files.safe_pickle import TensorRecord

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
_MAX_ITEM_BYTES = 8  # size of the widest dtype; torch must not get an unaligned address


def read_ckpt_tensors(path: Path, file: UntypedStorage, *, zipped: bool) -> dict[str, Tensor]:
    """Return the tensors of a .ckpt, on the CPU, in the file's dtypes, mapped rather than read.

    Args:
        path: The file.
        file: Its bytes, mapped.
        zipped: Whether the file is a zip archive, as written by PyTorch 1.6 or later.

    Raises:
        BadFile: the file is damaged, incomplete, or unsafe.
    """
    content = safe_pickle.read_ckpt(path, is_zip=zipped)
    locations = locate_storages(path, content, is_zip=zipped)
    try:
        storages = {key: _storage(path, file, location) for key, location in locations.items()}
        return {
            name: _view(tensor, storages[tensor.storage.key])
            for name, tensor in content.tensors.items()
        }
    except DAMAGED_FILE_ERRORS as error:
        raise BadFile(f"'{path.name}' is incomplete or damaged.", "Download it again.") from error


def _view(record: TensorRecord, storage: UntypedStorage) -> Tensor:
    empty = torch.empty(0, dtype=DTYPES[record.dtype])
    return empty.set_(storage, record.storage_offset, record.shape, record.stride)  # pyright: ignore[reportArgumentType]


def _storage(path: Path, file: UntypedStorage, location: StorageLocation) -> UntypedStorage:
    if not location.compressed_member:
        return _slice(file, location.offset, location.byte_count)
    with open_archive(path) as archive:
        return _copy(archive.read(location.compressed_member))


def _slice(file: UntypedStorage, start: int, byte_count: int) -> UntypedStorage:
    if start + byte_count > file.nbytes():
        raise ValueError("a storage beyond the end of the file")
    part = file[start : start + byte_count]
    return part if start % _MAX_ITEM_BYTES == 0 else part.clone()


def _copy(data: bytes) -> UntypedStorage:
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
        if data
        else UntypedStorage(0)
    )
