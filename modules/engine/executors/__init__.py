"""Executors run work on a device: the only interface to the backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from modules.params.events import CancelToken, Sink, ignore_events
from modules.plan.work import Work

R = TypeVar("R")


@dataclass(frozen=True)
class DeviceInfo:
    """Facts about an executor's open device.

    Args:
        label: The device's display name.
        warning: A permanent warning for the page, or an empty string.
    """

    label: str
    warning: str


class Executor(Protocol):
    """Runs work in order of submission."""

    @property
    def slots(self) -> int:
        """Return how many pieces of work it runs at once."""
        ...

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Open the device in the background; `on_ready` receives its info, or None and the reason of the failure."""
        ...

    def submit(
        self, work: Work[R], sink: Sink = ignore_events, cancel: CancelToken | None = None
    ) -> Future[R]:
        """Queue some work; the future carries its result or its error.

        Args:
            work: A plan of a job, or another kind of work.
            sink: Receives events.
            cancel: Interrupts the work.
        """
        ...

    def memory(self) -> dict[str, Any]:
        """Return the device's memory in bytes in A1111's format, or `error` with the reason why it is unknown."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Accept no more work and return whether the running work ended in time."""
        ...
