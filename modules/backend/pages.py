"""Advice to the system about the memory that tensors lie in; where it takes none, nothing happens."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable

# Smaller stretches hold no large page that pays (2 MiB on x86, and on ARM with pages of 4 KiB).
LARGE = 1 << 22


def give_back(begin: int, end: int) -> None:
    """Return to the system the whole pages between two addresses of a privately mapped file.

    They are read again when touched; what was written into them is lost.
    """
    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages: neighbours stay
    end = end // mmap.PAGESIZE * mmap.PAGESIZE
    if begin < end:
        _advise(begin, end, "MADV_DONTNEED")


def prefer_large(begin: int, end: int) -> None:
    """Ask for large pages between two addresses of memory not yet touched.

    A new page costs a trip into the kernel, which for gigabytes takes longer than filling them: 512 times fewer.
    """
    if end - begin >= LARGE:
        page = mmap.PAGESIZE
        _advise(begin // page * page, end // page * page, "MADV_HUGEPAGE")


def _advise(begin: int, end: int, advice: str) -> None:
    madvise, number = _madvise(), getattr(mmap, advice, None)
    if madvise is not None and number is not None:
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), number)


@functools.cache
def _madvise() -> Callable[..., int] | None:
    """Return the system's madvise, or None where its advice means something else."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
