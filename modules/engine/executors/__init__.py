"""Where work is carried out: the one door to the backend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from modules.models.manager import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.events import Listener
from modules.plan.plan import Plan
from modules.plan.work import Work


@dataclass(frozen=True)
class LoadCheckpoint:
    """Load a checkpoint ahead of its first job."""

    model: ModelSpec

    @property
    def checkpoint(self) -> Checkpoint:
        """Return its file."""
        return self.model.checkpoint


@dataclass(frozen=True)
class DeviceInfo:
    """What an executor knows of its device once it runs.

    Args:
        label: The device's name for people.
        warning: A lasting remark for the page, or an empty string.
    """

    label: str
    warning: str


class Executor(Protocol):
    """Carries out work in order of submission."""

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Begin in the background; `on_ready` gets the facts, or None and the reason of a failure."""
        ...

    def run(self, plan: Plan, listener: Listener) -> Future[None]:
        """Put a plan in the queue; the future ends with the job or carries its error."""
        ...

    def load(self, work: LoadCheckpoint) -> Future[None]:
        """Put the loading of a checkpoint in the queue."""
        ...

    def submit_work(self, work: Work) -> Future[Any]:
        """Put a question in the queue; the future carries the answer that its kind says, or the error."""
        ...

    def unload(self) -> Future[None]:
        """Put in the queue that all checkpoints are let go of."""
        ...

    def memory(self) -> dict[str, Any]:
        """Return the device's bytes of memory in A1111's form, or `error` with why there are none to tell."""
        ...

    def stop(self, timeout_s: float) -> bool:
        """Take no more work and return whether the running one ended in time."""
        ...
