"""Returns mapped pages to the system with madvise; does nothing where that is unavailable."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable


def drop_pages(begin: int, end: int) -> None:
    """Return the whole pages between two addresses of a privately mapped file to the system.

    They are read again on access; writes to them are lost.
    """
    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE  # whole pages: neighbouring data stays
    end = end // mmap.PAGESIZE * mmap.PAGESIZE
    madvise = _madvise()
    if begin < end and madvise is not None:
        madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


@functools.cache
def _madvise() -> Callable[..., int] | None:
    """Return the system's madvise, or None where MADV_DONTNEED means something else."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
