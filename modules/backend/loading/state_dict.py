"""State dict of a checkpoint file: where each tensor is in it, read when a network needs it."""

from __future__ import annotations

import math
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from modules.backend.loading.ckpt import DTYPES, read_ckpt_tensors
from modules.backend.loading.pieces import Copies, Piece, split
from modules.backend.loading.scratch import Scratch
from modules.core.errors import BadFile, Unsupported
from modules.core.text import escape
from modules.models.files.header import Header
from modules.models.files.scan import FileStamp


class OpenedFile:
    """A file that stays open: places for its tensors, and their bytes.

    Args:
        path: The file.

    Attributes:
        path: The file.
        name: Its name, for messages.
        stamp: Of the opened content.
        mapped: Its bytes, mapped for their addresses alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = escape(path.name)
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()  # Windows moves one place for all who read
        self.stamp = self.current_stamp()
        # Not by torch, which opens only paths in UTF-8.
        mapping = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)
        self.mapped = torch.frombuffer(mapping, dtype=torch.uint8).untyped_storage()

    def current_stamp(self) -> FileStamp:
        """Return the stamp of the opened file's content as it is now."""
        status = os.fstat(self._descriptor)
        return FileStamp(str(self.path), status.st_size, status.st_mtime_ns)

    def read_into(self, buffer: memoryview, start: int) -> int:
        """Fill a buffer from a place on; return the number of bytes, fewer at the end of the file.

        Several threads may read at once.
        """
        filled = 0
        while filled < len(buffer) and (count := self._read(buffer[filled:], start + filled)):
            filled += count
        return filled

    def _read(self, buffer: memoryview, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [buffer], start)
        with self._lock, FileIO(self._descriptor, closefd=False) as file:
            file.seek(start)
            return file.readinto(buffer)


class FileStateDict(Mapping[str, Tensor]):
    """Tensors of a file by key: their places in it, whose values are read by `read` alone.

    The places are addresses of a mapped file. Nobody may compute with them: a page of a file that was cut short
    meanwhile kills the process (SIGBUS), where reading it is an error.

    Args:
        tensors: On the CPU, in the file's dtypes.
        file: The opened file.
        header: Of the same file.
    """

    def __init__(self, tensors: Mapping[str, Tensor], file: OpenedFile, header: Header) -> None:
        self._tensors = tensors
        self._file = file
        self._header = header

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def without_prefix(self, prefix: str) -> FileStateDict:
        """Return it without the keys that start with a prefix."""
        tensors = {name: tensor for name, tensor in self.items() if not name.startswith(prefix)}
        return FileStateDict(tensors, self._file, self._header)

    def reopener(self) -> Callable[[], FileStateDict]:
        """Return what opens the file again; it holds no tensor and no open file.

        It raises `BadFile` where the file has changed since it was opened first.
        """
        path, header, stamp = self._file.path, self._header, self._file.stamp

        def reopen() -> FileStateDict:
            state_dict = read_state_dict(path, header)
            if state_dict._file.stamp != stamp:
                raise BadFile(f"'{escape(path.name)}' has changed since it was loaded.")
            return state_dict

        return reopen

    def read(self, tensor: Tensor, scratch: Scratch | None = None) -> Tensor:
        """Return a tensor, or a view of one, in memory and aligned.

        Args:
            tensor: Its place in the file.
            scratch: Where to read it, until it is used again; fresh memory by default.

        Raises:
            BadFile: the file has become shorter since it was opened.
        """
        start = self._place(tensor)
        if start is None:
            return to_aligned(tensor)
        last = sum(
            (size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True)
        )
        scratch = scratch or Scratch()
        data = scratch.take([(last + 1) * tensor.itemsize], torch.uint8, torch.device("cpu"))
        count = self._file.read_into(data.numpy().data, start)
        if count < data.nbytes:
            raise _cut_short(self._file.name, data.nbytes, count)
        return data.view(tensor.dtype).as_strided(tensor.shape, tensor.stride())

    def copy(
        self, tensors: Sequence[Tensor], targets: Sequence[Tensor], copies: Copies | None = None
    ) -> None:
        """Copy tensors, or views of them, into others of the same shape and any dtype.

        Args:
            tensors: In the order of the file, since a disk is slower in any other.
            targets: Contiguous, on the CPU.
            copies: Does it until its block ends; None does it now.

        Raises:
            BadFile: the file has become shorter since it was opened; from the end of the block of `copies`.
        """
        if copies is not None:
            copies.add(self._pieces(tensors, targets), self._read_piece)
            return
        with Copies() as now:
            now.add(self._pieces(tensors, targets), self._read_piece)

    @property
    def stamp(self) -> FileStamp:
        """Return the identity of the file's content when it was opened."""
        return self._file.stamp

    def is_unchanged(self) -> bool:
        """Return whether the opened file still has the size and the time that it had then."""
        return self._file.current_stamp() == self._file.stamp

    def _pieces(self, tensors: Sequence[Tensor], targets: Sequence[Tensor]) -> Iterator[Piece]:
        for tensor, target in zip(tensors, targets, strict=True):
            start = self._place(tensor)
            if start is None or not tensor.is_contiguous():
                target.copy_(self.read(tensor))
            else:
                yield from split(target, tensor.dtype, start)

    def _read_piece(self, buffer: memoryview, piece: Piece) -> None:
        count = self._file.read_into(buffer, piece.start)
        if count < len(buffer):
            raise _cut_short(self._file.name, piece.size, piece.begin + count)

    def _place(self, tensor: Tensor) -> int | None:
        """Return where a tensor begins in the file, in bytes; None where it lies elsewhere or has no values."""
        mapped = self._file.mapped
        start = tensor.data_ptr() - mapped.data_ptr()
        return start if tensor.numel() and 0 <= start < mapped.nbytes() else None


def _cut_short(name: str, size: int, left: int) -> BadFile:
    return BadFile(
        f"'{name}' was cut short while it was read: a weight of {size} bytes has {left} left.",
        "Download it again.",
    )


def read_tensor(
    state_dict: Mapping[str, Tensor], tensor: Tensor, scratch: Scratch | None = None
) -> Tensor:
    """Return a tensor of a state dict, or a view of one, to compute with; see `FileStateDict.read`.

    Raises:
        BadFile: it comes from a file that was cut short.
    """
    if isinstance(state_dict, FileStateDict):
        return state_dict.read(tensor, scratch)
    return to_aligned(tensor)


def copy_tensors(
    state_dict: Mapping[str, Tensor],
    tensors: Sequence[Tensor],
    targets: Sequence[Tensor],
    copies: Copies | None = None,
) -> None:
    """Copy tensors of a state dict, or views of them, into others of the same shape and any dtype.

    Args:
        state_dict: On the CPU.
        tensors: In the order of the file.
        targets: Contiguous, on the CPU.
        copies: As in `FileStateDict.copy`.

    Raises:
        BadFile: they come from a file that was cut short.
    """
    if isinstance(state_dict, FileStateDict):
        state_dict.copy(tensors, targets, copies)
        return
    for tensor, target in zip(tensors, targets, strict=True):
        target.copy_(to_aligned(tensor))


def read_state_dict(path: Path, header: Header) -> FileStateDict:
    """Return the tensors of a checkpoint file.

    Args:
        path: The file.
        header: Of the same file.

    Raises:
        BadFile: the file is damaged, incomplete, or unsafe.
        Unsupported: a tensor has an unknown dtype.
    """
    try:
        file = OpenedFile(path)
    except (OSError, ValueError) as error:
        raise BadFile(f"'{path.name}' cannot be read: {error}.", "Download it again.") from error
    if header.container != "safetensors":
        zipped = header.container == "zip"
        return FileStateDict(read_ckpt_tensors(path, file.mapped, zipped=zipped), file, header)
    tensors: dict[str, Tensor] = {}
    for name, info in header.tensors.items():
        dtype = DTYPES.get(info.dtype)
        if dtype is None:
            raise Unsupported(
                f"'{path.name}' stores {name} as {info.dtype}, which is not supported."
            )
        start = header.data_start + header.starts[name]
        size = math.prod(info.shape) * dtype.itemsize
        if start + size > file.mapped.nbytes():
            raise BadFile(f"'{path.name}' changed while it was read.", "Try again.")
        # Sliced, since a tensor's storage offset is counted in items, and its byte offset need not be a multiple.
        tensors[name] = torch.empty(0, dtype=dtype).set_(
            file.mapped[start : start + size], 0, info.shape
        )  # pyright: ignore[reportArgumentType, reportCallIssue]
    return FileStateDict(tensors, file, header)


def make_reopener(state_dict: Mapping[str, Tensor]) -> Callable[[], Mapping[str, Tensor]]:
    """Return what gives the same state dict again: from its file, or itself where it is in memory."""
    if isinstance(state_dict, FileStateDict):
        return state_dict.reopener()
    return lambda: state_dict


def is_aligned(tensor: Tensor) -> bool:
    """Return whether a tensor's address is a multiple of its item size."""
    return tensor.data_ptr() % tensor.itemsize == 0


def to_aligned(tensor: Tensor) -> Tensor:
    """Return the tensor, or an aligned copy of an unaligned contiguous one."""
    if is_aligned(tensor):
        return tensor
    return tensor.view(-1).view(torch.uint8).clone().view(tensor.dtype).view(tensor.shape)
