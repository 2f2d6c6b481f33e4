"""Closes connections that do not send a whole request header in time, or when there are too many; uvicorn waits for ever."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 20.0
_DEFAULT_DESCRIPTORS = 1024
_WAITING_FOR_HEADER = "IDLE"  # h11's name of the state; h11 is uvicorn's package, not one of ours


class HeaderTimeoutProtocol(H11Protocol):
    """HTTP/1.1 with a time limit from the first moment of a connection, or the first byte of a request, to the header's end."""

    header_timeout_s = HEADER_TIMEOUT_S
    max_connections = 0  # 0: three quarters of what the system allows the process to open
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first header; of too many connections that wait the oldest is closed."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > (self.max_connections or _descriptors() * 3 // 4):
            waiting = [
                (timer.when(), connection)
                for connection in cast("set[HeaderTimeoutProtocol]", self.connections)
                if (timer := connection._timer) is not None
            ]
            min(waiting, key=lambda pair: pair[0])[1].transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read; wait on while a header is incomplete."""
        super().data_received(data)
        if str(self.conn.their_state) != _WAITING_FOR_HEADER:
            self._stop_waiting()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _descriptors() -> int:
    """Return how many files and connections the process may have open."""
    if sys.platform == "win32":
        return _DEFAULT_DESCRIPTORS
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _DEFAULT_DESCRIPTORS * 64 if limit == resource.RLIM_INFINITY else limit
