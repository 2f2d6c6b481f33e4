"""The tensors of a checkpoint file, mapped into memory: read when touched, given back when converted."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, UntypedStorage

from modules.backend.unpickle import DTYPES, read_tensors
from modules.core.errors import BadFile, Unsupported
from modules.models.header import Header

ALIGNMENT = 8  # of the widest dtype; torch must not be given an odd address


class Weights(Mapping[str, Tensor]):
    """Tensors by name, and the memory they are mapped to.

    Args:
        tensors: On the CPU, in the file's dtypes.
        file: The file's bytes as memory.
    """

    def __init__(self, tensors: Mapping[str, Tensor], file: UntypedStorage) -> None:
        self._tensors = tensors
        self._file = file
        self._advise = _madvise()

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def without(self, prefix: str) -> Weights:
        """Return all but those whose names begin so."""
        kept = {name: tensor for name, tensor in self.items() if not name.startswith(prefix)}
        return Weights(kept, self._file)

    def release(self, name: str) -> None:
        """Give back the memory of a tensor that was copied elsewhere; it is read again when touched."""
        tensor = self._tensors[name]
        begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        first = self._file.data_ptr()
        if self._advise is None or not first <= begin <= end <= first + self._file.nbytes():
            return
        begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages: neighbours stay
        end = end // mmap.PAGESIZE * mmap.PAGESIZE
        if begin < end:
            self._advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def read_weights(path: Path, header: Header) -> Weights:
    """Return the tensors of a checkpoint file.

    Args:
        path: The file.
        header: Of the same file.

    Raises:
        BadFile: the file is damaged, incomplete, or asks for code.
        Unsupported: its numbers are of a kind that is not known here.
    """
    try:
        file = map_file(path)
    except (OSError, RuntimeError) as error:
        raise BadFile(f"'{path.name}' cannot be read: {error}.", "Download it again.") from error
    if header.kind != "safetensors":
        return Weights(read_tensors(path, file, zipped=header.kind == "zip"), file)
    tensors: dict[str, Tensor] = {}
    for name, info in header.tensors.items():
        dtype = DTYPES.get(info.dtype)
        if dtype is None:
            raise Unsupported(f"'{path.name}' stores {name} as {info.dtype}, which is not known.")
        start, size = header.positions[name], math.prod(info.shape) * dtype.itemsize
        if start + size > file.nbytes():
            raise BadFile(f"'{path.name}' changed while it was read.", "Try again.")
        bytes_of_it = torch.empty(0, dtype=torch.uint8).set_(file, start, (size,), (1,))  # pyright: ignore[reportArgumentType, reportCallIssue]
        aligned = bytes_of_it if start % ALIGNMENT == 0 else bytes_of_it.clone()
        tensors[name] = aligned.view(dtype).view(info.shape)
    return Weights(tensors, file)


def map_file(path: Path) -> UntypedStorage:
    """Return a file's bytes as memory; what is written into it is not written to the file."""
    mapped = UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
    return cast("UntypedStorage", mapped)  # torch annotates its base class


def _madvise() -> Callable[..., int] | None:
    """Return the system's madvise, or None where private pages cannot be given back with it."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
