"""Executors run work on a device: the only interface to the backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

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


WorkerState = Literal["starting", "idle", "busy", "lost", "refused"]


@dataclass(frozen=True)
class WorkerStatus:
    """A snapshot of one worker: a device and the process that uses it.

    Args:
        name: Names it among the workers of an executor, such as "cuda:1".
        machine: Host name of its machine.
        device: Display name of its device; "" until it is open.
        state: What it is doing; a lost worker is started again, a refused one is not.
        reason: Why it is lost or refused, in a sentence; else "".
        checkpoint: Name of the checkpoint that it used last; "" if none is loaded.
        memory_used: Bytes in use on its device, of its process where the device is the CPU; None if they are not known.
        memory_total: Bytes that there are of it.
        activity: The phase of what it does; "" while it does nothing.
        job_id: The job that it works for; "" for none.
    """

    name: str
    machine: str
    device: str = ""
    state: WorkerState = "starting"
    reason: str = ""
    checkpoint: str = ""
    memory_used: int | None = None
    memory_total: int | None = None
    activity: str = ""
    job_id: str = ""


def may_come_yet(workers: Sequence[WorkerStatus]) -> bool:
    """Return whether jobs may wait for a worker: none is known yet, or one is not refused for good."""
    return not workers or any(worker.state != "refused" for worker in workers)


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
        self,
        work: Work[R],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[R]:
        """Queue some work; the future carries its result or its error.

        Args:
            work: A plan of a job, or another kind of work.
            sink: Receives events.
            cancel: Interrupts the work.
            job_id: The job that it is for, shown next to the worker.
        """
        ...

    def memory(self) -> dict[str, Any]:
        """Return the device's memory in bytes in A1111's format, or `error` with the reason why it is unknown."""
        ...

    def workers(self) -> Sequence[WorkerStatus]:
        """Return what each worker is doing; callable from any thread, and quick."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Accept no more work and return whether the running work ended in time."""
        ...
