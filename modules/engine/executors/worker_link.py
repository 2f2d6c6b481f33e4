"""WorkerLink: the connection of the pool to one worker. Knows nothing of how a worker is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modules.params.events import CancelToken, Sink
from modules.plan.work import Work


class WorkerLost(Exception):
    """The worker ended or does not answer; it can be started again. The text is the reason, without a full stop."""


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself when it has started.

    Args:
        device: Display name of its device.
        machine: Host name of its machine.
        warning: A permanent warning about its device; "" for none.
        is_on_server: Whether it runs on the machine of the server, and so has the same files.
    """

    device: str
    machine: str
    warning: str = ""
    is_on_server: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes in use and in all of a worker's device."""

    used: int
    total: int


class WorkerLink(Protocol):
    """The connection to one worker; used by one thread."""

    @property
    def name(self) -> str:
        """Return what names the worker among the others."""
        ...

    @property
    def machine(self) -> str:
        """Return the host name of its machine, "" before it is known."""
        ...

    def start(self) -> WorkerFacts:
        """Start the worker and return once its device is open.

        Raises:
            WorkerLost: it cannot be reached now.
            WebUIError: it cannot be used at all.
        """
        ...

    def run(
        self,
        work: Work[Any],
        sink: Sink,
        cancel: CancelToken,
        on_memory: Callable[[Memory], None],
    ) -> Any:
        """Do some work and return its result. Any: its type depends on the kind of work.

        Args:
            work: The work.
            sink: Receives events, on this thread.
            cancel: Looked at while it runs.
            on_memory: Receives the memory of the device now and then.

        Raises:
            WorkerLost: the worker ended, or does not answer.
            WebUIError: the work failed.
        """
        ...

    def check(self) -> Memory:
        """Return the memory of its device while it does nothing.

        Raises:
            WorkerLost: it has ended, or does not answer.
        """
        ...

    def stop(self) -> None:
        """End the worker, if it runs."""
        ...
