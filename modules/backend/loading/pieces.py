"""Copies tensors out of a file in pieces that stay in the processor's cache, by as many threads as torch computes with.

Whole tensors would each be read into fresh memory first: the kernel clears it page by page, and it is gone from the
cache before it is converted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from modules.backend.loading.scratch import convert, is_converted_in_two

T = TypeVar("T")

PIECE_BYTES = 4 << 20
# Torch shares out any operation on 32768 items or more among threads of its own, which would wait for each other.
ITEMS_AT_ONCE = 32640


class Piece(NamedTuple):
    """A part of a tensor in a file, and where it goes.

    Args:
        target: Contiguous, of one dimension.
        dtype: In the file.
        start: Of the part, in bytes from the begin of the file.
        begin: Of the part, in bytes from the begin of its tensor.
        size: Of the whole tensor, in bytes.
    """

    target: Tensor
    dtype: torch.dtype
    start: int
    begin: int
    size: int


def split(target: Tensor, dtype: torch.dtype, start: int) -> Iterator[Piece]:
    """Yield the pieces of a tensor.

    Args:
        target: Contiguous.
        dtype: In the file.
        start: Of the tensor, in bytes from the begin of the file.
    """
    begin = 0
    for part in target.view(-1).split(PIECE_BYTES // dtype.itemsize):
        yield Piece(part, dtype, start + begin, begin, target.numel() * dtype.itemsize)
        begin += part.numel() * dtype.itemsize


class Copies:
    """Threads that fill tensors while the caller goes on; at the end of the block all are filled.

    The first error of a thread is raised there, and what was not begun is left out.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(torch.get_num_threads(), "weights")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        try:
            for future in self._pending if error is None else ():
                future.result()
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def add(self, pieces: Iterable[Piece], read: Callable[[memoryview, Piece], None]) -> None:
        """Fill the target of every piece; what is of its dtype, or is converted in place, is read into it without a copy.

        Args:
            pieces: In the order of the file.
            read: Fills a buffer with a piece's bytes; several threads call it.
        """
        self.run(_Copier(read).copy, pieces)

    def run(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """Do some work for each item, one item to a thread."""
        self._pending += [self._threads.submit(work, item) for item in items]


class _Copier(threading.local):
    """Copies pieces; each thread has its own buffers, which it uses over and over."""

    def __init__(self, read: Callable[[memoryview, Piece], None]) -> None:
        self._read = read
        self._buffer = torch.empty(PIECE_BYTES, dtype=torch.uint8)
        self._wide = torch.empty(ITEMS_AT_ONCE)

    @torch.inference_mode()
    def copy(self, piece: Piece) -> None:
        """Read a piece and convert it: in its place if it has the same size there, or from a buffer."""
        target = piece.target
        data = self._buffer[: target.numel() * piece.dtype.itemsize].view(piece.dtype)
        is_same = piece.dtype == target.dtype
        if is_same or is_converted_in_two(data, target):
            data = target.view(piece.dtype)
        self._read(data.view(torch.uint8).numpy().data, piece)
        if not is_same:
            convert(data, target, self._wide)
