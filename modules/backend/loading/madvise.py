"""Advice to the system about the memory that tensors lie in; where it takes none, nothing happens."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable


def drop_pages(begin: int, end: int) -> None:
    """Return to the system the whole pages between two addresses of a privately mapped file.

    They are read again when touched; what was written into them is lost.
    """
    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages: neighbours stay
    end = end // mmap.PAGESIZE * mmap.PAGESIZE
    madvise = _madvise()
    if begin < end and madvise is not None:
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


@functools.cache
def _madvise() -> Callable[..., int] | None:
    """Return the system's madvise, or None where its advice means something else."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
