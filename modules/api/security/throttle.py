"""Slows down the guessing of passwords, however many guesses are sent at once."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

FREE_ATTEMPTS = 5
MAX_WAIT_S = 60.0
_FORGET_AFTER_S = 15 * 60.0
_MAX_CLIENTS = 10_000


class Throttle:
    """Counts wrong passwords by client; after a few, each makes that client wait twice as long before the next check.

    Args:
        delay_s: The first wait; 0 turns waiting off.
        clock: Returns seconds.
    """

    def __init__(self, delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # count and time of the last one

    def wait_s(self, address: str) -> float:
        """Return how many seconds a client must wait before its password is checked, right or wrong."""
        count, last = self._failures.get(_network(address), (0, 0.0))
        if count <= FREE_ATTEMPTS:
            return 0.0
        wait_s = self._delay_s * 2.0 ** min(count - FREE_ATTEMPTS, 16)
        return max(0.0, last + min(wait_s, MAX_WAIT_S) - self._clock())

    def add_failure(self, address: str) -> None:
        """Count a wrong password."""
        client, now = _network(address), self._clock()
        count, last = self._failures.pop(client, (0, now))
        if now - last > _FORGET_AFTER_S:
            count = 0
        if len(self._failures) >= _MAX_CLIENTS:
            del self._failures[next(iter(self._failures))]  # whose last failure is the oldest
        self._failures[client] = (count + 1, now)


def _network(address: str) -> str:
    """Return an address; of IPv6 the network of 64 bits, all of which belong to one client."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
