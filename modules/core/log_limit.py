"""Limits how often one line of code may log: thousands of equal lines hide everything else and fill the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

MAX_RECORDS = 100
WINDOW_S = 60.0
_UNLIMITED = ("uvicorn.access",)  # --api-log asks for every request


class RepetitionFilter(logging.Filter):
    """Lets so many records of one place in the code pass in a window of time; the first of the next window says how many were dropped.

    Args:
        max_records: How many pass in a window.
        window_s: Length of the window.
        clock: Returns seconds.
    """

    def __init__(
        self,
        max_records: int = MAX_RECORDS,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._max_records = max_records
        self._window_s = window_s
        self._clock = clock
        self._windows: dict[tuple[str, int], tuple[float, int]] = {}  # start and count, by place
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes."""
        if record.name in _UNLIMITED:
            return True
        place, now = (record.pathname, record.lineno), self._clock()
        with self._lock:
            start, count = self._windows.get(place, (now, 0))
            dropped = max(0, count - self._max_records)
            if now - start >= self._window_s:
                start, count = now, 0
            self._windows[place] = (start, count + 1)
        if count == 0 and dropped:
            record.msg = f"{record.getMessage()} ({dropped} more of these were left out before.)"
            record.args = ()
        elif count + 1 == self._max_records:
            record.msg = f"{record.getMessage()} (More of these are left out for a while.)"
            record.args = ()
        return count < self._max_records
