"""A .ckpt as .safetensors: the same numbers under the same names, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from modules.core.atomic import open_writer, remove_leftovers
from modules.core.errors import StorageError, UserError
from modules.models.files import safe_pickle
from modules.models.files.ckpt_layout import StorageLocation, locate_storages
from modules.models.files.dtypes import DTYPE_BITS, byte_count
from modules.models.files.header import read_header
from modules.models.files.safe_pickle import CkptContents, TensorRecord


def convert_to_safetensors(path: Path) -> Path:
    """Write a .ckpt's tensors to a .safetensors file beside it and return that file's path.

    The .ckpt and its .yaml stay; a .yaml of the same name serves both.

    Raises:
        UserError: it is a .safetensors file inside, or the new file's name is taken.
        BadFile: it is damaged, incomplete, or asks for code.
        StorageError: the new file cannot be written.
    """
    target = path.with_suffix(".safetensors")
    header = read_header(path)
    if header.container == "safetensors":
        raise UserError(
            f"'{path.name}' is a .safetensors file already; rename it if it is not called so."
        )
    if target.exists():
        raise UserError(
            f"'{target.name}' is there already and is not overwritten.", "Move it away first."
        )
    zipped = header.container == "zip"
    content = safe_pickle.read_ckpt(path, is_zip=zipped)
    places = locate_storages(path, content, is_zip=zipped)
    try:
        remove_leftovers(target)  # gigabytes, after a kill
        with open_writer(target, overwrite=False) as out:
            _write(out, path, content, places)
    except FileExistsError:
        raise UserError(f"'{target.name}' appeared meanwhile and is not overwritten.") from None
    except OSError as error:
        text = f"'{target}' cannot be written: {error.strerror or error}."
        raise StorageError(text, "Make room or allow writing to the folder.") from error
    return target


def _write(
    out: IO[bytes], path: Path, content: CkptContents, places: Mapping[str, StorageLocation]
) -> None:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt", "converted_from": path.name}}
    end = 0
    # Wide numbers first, so that every tensor begins at an address its dtype may have.
    tensors = sorted(
        content.tensors.items(), key=lambda item: (-DTYPE_BITS[item[1].dtype], item[0])
    )
    for name, tensor in tensors:
        start, end = end, end + byte_count(tensor.dtype, int(np.prod(tensor.shape, dtype=np.int64)))
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    for _, tensor in tensors:
        place = places[tensor.storage.key]
        out.write(_numbers(tensor, _storage(path, mapped, place)).data)


def _storage(path: Path, mapped: NDArray[np.uint8], place: StorageLocation) -> NDArray[np.uint8]:
    if not place.compressed_member:
        return mapped[place.offset : place.offset + place.byte_count]
    with zipfile.ZipFile(path) as archive:
        return np.frombuffer(archive.read(place.compressed_member), dtype=np.uint8)


def _numbers(tensor: TensorRecord, storage: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the tensor's items in order, as plain integers of their width."""
    width = DTYPE_BITS[tensor.dtype] // 8
    dtype = np.dtype(f"u{width}")
    items = np.frombuffer(storage, dtype, count=len(storage) // width)
    if 0 in tensor.shape:
        return np.empty(0, dtype)
    strides = [step * width for step in tensor.stride]
    view = as_strided(items[tensor.storage_offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view)
