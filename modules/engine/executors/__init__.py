"""Executors run work on a device: the only interface to the backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from modules.models.checkpoint import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.events import Listener
from modules.plan.plan import Plan
from modules.plan.work import Work


@dataclass(frozen=True)
class LoadCheckpoint:
    """Load a checkpoint ahead of its first job.

    Args:
        model: The checkpoint, and how it is loaded.
        checkpoints_limit: How many checkpoints may be loaded at once from now on.
    """

    model: ModelSpec
    checkpoints_limit: int = 1

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the model's checkpoint."""
        return self.model.checkpoint


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

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Open the device in the background; `on_ready` receives its info, or None and the reason of the failure."""
        ...

    def run(self, plan: Plan, listener: Listener) -> Future[None]:
        """Queue a plan; the future completes with the job or carries its error."""
        ...

    def load(self, work: LoadCheckpoint) -> Future[None]:
        """Queue the loading of a checkpoint."""
        ...

    def submit_work(self, work: Work) -> Future[Any]:
        """Queue other work; the future carries the result that its type declares, or the error."""
        ...

    def unload(self) -> Future[None]:
        """Queue the unloading of all checkpoints."""
        ...

    def memory(self) -> dict[str, Any]:
        """Return the device's memory in bytes in A1111's format, or `error` with the reason why it is unknown."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Accept no more work and return whether the running work ended in time."""
        ...
