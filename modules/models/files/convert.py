"""Converts a .ckpt to .safetensors: same tensors, same names; the file is written completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from modules.core.atomic import open_writer, remove_leftovers
from modules.core.errors import BadFile, StorageError, UserError
from modules.core.text import escape
from modules.models.files import safe_pickle
from modules.models.files.archive import open_archive
from modules.models.files.ckpt_layout import DAMAGED_FILE_ERRORS, StorageLocation, locate_storages
from modules.models.files.dtypes import DTYPE_BITS
from modules.models.files.header import TensorInfo, read_header
from modules.models.files.safe_pickle import CkptContents, TensorRecord
from modules.models.files.safetensors_writer import make_layout


def convert_to_safetensors(path: Path) -> Path:
    """Write a .ckpt's tensors to a .safetensors file in the same folder and return its path.

    The .ckpt and its .yaml are kept; a .yaml of the same name applies to both.

    Raises:
        UserError: its content is safetensors already, or the new file's name is taken.
        BadFile: it is damaged, incomplete, or contains code.
        StorageError: the new file cannot be written.
    """
    target = path.with_suffix(".safetensors")
    header = read_header(path)
    if header.container == "safetensors":
        raise UserError(
            f"'{path.name}' is already in .safetensors format; correct its extension if needed."
        )
    if target.exists():
        raise UserError(
            f"'{target.name}' already exists and is not overwritten.", "Move it away first."
        )
    is_zip = header.container == "zip"
    contents = safe_pickle.read_ckpt(path, is_zip=is_zip)
    locations = locate_storages(path, contents, is_zip=is_zip)
    try:
        remove_leftovers(target)  # gigabytes, after a kill
        with open_writer(target, overwrite=False) as out:
            _write_safetensors(out, path, contents, locations)
    except FileExistsError:
        raise UserError(
            f"'{target.name}' was created in the meantime and is not overwritten."
        ) from None
    except OSError as error:
        text = f"'{target}' cannot be written: {error.strerror or error}."
        raise StorageError(text, "Free some disk space, or allow writing to the folder.") from error
    except DAMAGED_FILE_ERRORS as error:  # in a compressed storage
        raise BadFile(f"'{path.name}' is incomplete or damaged.", "Download it again.") from error
    return target


def _write_safetensors(
    out: IO[bytes], path: Path, contents: CkptContents, locations: Mapping[str, StorageLocation]
) -> None:
    infos = {
        name: TensorInfo(tensor.shape, tensor.dtype)
        for name, tensor in sorted(contents.tensors.items())
    }
    layout = make_layout(infos, {"format": "pt", "converted_from": escape(path.name)})
    out.write(layout.head)
    for name in layout.names:
        tensor = contents.tensors[name]
        location = locations[tensor.storage.key]
        out.write(_contiguous(tensor, _read_storage(path, location)).data)


def _read_storage(path: Path, location: StorageLocation) -> NDArray[np.uint8]:
    if not location.compressed_member:
        # Not mapped: a page of a file that was cut short kills the process.
        data = np.fromfile(path, np.uint8, location.byte_count, offset=location.offset)
        if len(data) < location.byte_count:
            raise BadFile(f"'{path.name}' was cut short while it was read.", "Download it again.")
        return data
    with open_archive(path) as archive:
        return np.frombuffer(archive.read(location.compressed_member), dtype=np.uint8)


def _contiguous(tensor: TensorRecord, storage: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the tensor's items in row-major order, as unsigned integers of the dtype's width."""
    width = DTYPE_BITS[tensor.dtype] // 8
    dtype = np.dtype(f"u{width}")
    items = np.frombuffer(storage, dtype, count=len(storage) // width)
    if 0 in tensor.shape:
        return np.empty(0, dtype)
    strides = [step * width for step in tensor.stride]
    view = as_strided(items[tensor.storage_offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view)
