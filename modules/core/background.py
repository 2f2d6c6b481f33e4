"""Threads whose work can wait."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

_LOWEST_PRIORITY = 19  # of a process or thread, as `nice` counts


def give_way() -> None:
    """Give the calling thread the lowest priority, for good; without effect where threads have none of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
