"""State dict of a checkpoint file, memory-mapped: pages are read on access and dropped after conversion."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, UntypedStorage

from modules.backend.loading import madvise
from modules.backend.loading.ckpt import DTYPES, read_ckpt_tensors
from modules.core.errors import BadFile, Unsupported
from modules.models.files.header import Header


class MappedStateDict(Mapping[str, Tensor]):
    """Tensors by key, with the memory they are mapped to.

    A file whose header has an odd length puts them at unaligned addresses: use `to_aligned` before computing.

    Args:
        tensors: On the CPU, in the file's dtypes.
        file: The mapped bytes of the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], file: UntypedStorage) -> None:
        self._tensors = tensors
        self._file = file

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def without_prefix(self, prefix: str) -> MappedStateDict:
        """Return it without the keys that start with a prefix."""
        tensors = {name: tensor for name, tensor in self.items() if not name.startswith(prefix)}
        return MappedStateDict(tensors, self._file)

    def release(self, name: str) -> None:
        """Drop the memory of a tensor that was copied elsewhere; it is read again on access."""
        tensor = self._tensors[name]
        begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        first = self._file.data_ptr()
        if first <= begin <= end <= first + self._file.nbytes():
            madvise.drop_pages(begin, end)


def read_state_dict(path: Path, header: Header) -> MappedStateDict:
    """Return the tensors of a checkpoint file.

    Args:
        path: The file.
        header: Of the same file.

    Raises:
        BadFile: the file is damaged, incomplete, or unsafe.
        Unsupported: a tensor has an unknown dtype.
    """
    try:
        file = mmap_file(path)
    except (OSError, ValueError) as error:
        raise BadFile(f"'{path.name}' cannot be read: {error}.", "Download it again.") from error
    if header.container != "safetensors":
        return MappedStateDict(
            read_ckpt_tensors(path, file, zipped=header.container == "zip"), file
        )
    tensors: dict[str, Tensor] = {}
    for name, info in header.tensors.items():
        dtype = DTYPES.get(info.dtype)
        if dtype is None:
            raise Unsupported(
                f"'{path.name}' stores {name} as {info.dtype}, which is not supported."
            )
        start, size = header.byte_offsets[name], math.prod(info.shape) * dtype.itemsize
        if start + size > file.nbytes():
            raise BadFile(f"'{path.name}' changed while it was read.", "Try again.")
        # Sliced, since a tensor's storage offset is counted in items, and its byte offset need not be a multiple.
        tensors[name] = torch.empty(0, dtype=dtype).set_(file[start : start + size], 0, info.shape)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return MappedStateDict(tensors, file)


def is_aligned(tensor: Tensor) -> bool:
    """Return whether a tensor's address is a multiple of its item size."""
    return tensor.data_ptr() % tensor.itemsize == 0


def to_aligned(tensor: Tensor) -> Tensor:
    """Return the tensor, or an aligned copy of an unaligned contiguous one."""
    if is_aligned(tensor):
        return tensor
    return tensor.view(-1).view(torch.uint8).clone().view(tensor.dtype).view(tensor.shape)


def mmap_file(path: Path) -> UntypedStorage:
    """Return a file's bytes, mapped; writes do not reach the file."""
    with path.open("rb") as file:  # torch opens only paths in UTF-8
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return torch.frombuffer(mapped, dtype=torch.uint8).untyped_storage()
