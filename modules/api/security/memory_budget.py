"""One budget for what all requests together hold in memory: their bodies and the pixels of their images."""

from __future__ import annotations

import threading

from modules.core.errors import Busy

# Two of the largest bodies, or one of the largest images as pixels.
MAX_BYTES_IN_FLIGHT = 256 * 2**20
_BYTES_PER_PIXEL = 4
# Bodies without images are never refused: they include the interrupt of a job.
_FREE_BYTES = 64 * 2**10


class MemoryBudget:
    """Bytes that all requests together may hold. Thread-safe.

    Args:
        limit: In bytes; a request that is alone may take more, since other limits hold for it.
    """

    def __init__(self, limit: int = MAX_BYTES_IN_FLIGHT) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def change(self, byte_count: int, held: int) -> bool:
        """Take or give back bytes for a request that holds so many; return False if there is no room."""
        with self._lock:
            is_alone = self._used <= held
            if byte_count > 0 and not is_alone and self._used + byte_count > self._limit:
                return False
            self._used += byte_count
            return True


class Share:
    """What one request holds of the budget until it has been answered. Thread-safe."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._body_bytes = 0
        self._pixel_bytes = 0
        self._held = 0
        self._released = False
        self._lock = threading.Lock()

    def add_body(self, byte_count: int) -> None:
        """Count bytes of the body that have arrived.

        Raises:
            Busy: there is no room for them.
        """
        with self._lock:
            self._body_bytes += byte_count
            self._hold()

    def add_pixels(self, pixel_count: int) -> None:
        """Count the pixels of an image that is about to be decoded: the largest one of a request counts.

        Raises:
            Busy: there is no room for them.
        """
        with self._lock:
            self._pixel_bytes = max(self._pixel_bytes, pixel_count * _BYTES_PER_PIXEL)
            self._hold()

    def release(self) -> None:
        """Give everything back; work that outlives its request counts no more."""
        with self._lock:
            self._released = True
            self._budget.change(-self._held, self._held)
            self._held = 0

    def _hold(self) -> None:
        needed = max(0, self._body_bytes - _FREE_BYTES) + self._pixel_bytes
        if self._released or needed <= self._held:
            return
        if not self._budget.change(needed - self._held, self._held):
            raise Busy(
                "The server is busy with other large requests.", "Send this one again in a while."
            )
        self._held = needed
