"""Loads checkpoints ahead of their first job, and keeps the status of the device for the page's header."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from modules.engine.executors import DeviceInfo, Executor
from modules.engine.jobs.job import Job
from modules.models.checkpoint import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.plan.plan import Plan
from modules.plan.work import LoadModel, UnloadModels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceStatus:
    """A snapshot of the device's status.

    Args:
        phase: Its lifecycle phase.
        text: One line for the user.
        device: The device's display name, empty until it is known.
        warning: A permanent warning, such as "no graphics card was found".
        checkpoint: Name of the loaded checkpoint, empty if none is loaded.
    """

    phase: Literal["starting", "loading", "ready", "failed"]
    text: str
    device: str = ""
    warning: str = ""
    checkpoint: str = ""


class CheckpointLoader:
    """Loads and unloads checkpoints.

    Args:
        executor: The device.
        load_when_idle: Loads a checkpoint once no job is queued, see `JobQueue.load_when_idle`.

    Attributes:
        status: What the device is doing.
    """

    def __init__(
        self,
        executor: Executor,
        load_when_idle: Callable[[LoadModel, Callable[[Future[None]], None]], None],
    ) -> None:
        self.status = DeviceStatus("starting", "Starting")
        self._executor = executor
        self._load_when_idle = load_when_idle
        self._requested: ModelSpec | None = None  # the model of the last load
        self._is_unloaded = False

    def on_device_opening(self) -> None:
        """Note that the device is being opened."""
        self.status = replace(self.status, text="Starting the device")

    def on_device_ready(self, info: DeviceInfo, warning: str) -> None:
        """Note that the device is open.

        Args:
            info: The device.
            warning: Of the program; shown with the device's own.
        """
        warnings = " ".join(filter(None, (info.warning, warning)))
        self.status = DeviceStatus("ready", "Ready", device=info.label, warning=warnings)

    def on_failure(self, error: str) -> None:
        """Note why there is no device, or no checkpoint to load."""
        self.status = replace(self.status, phase="failed", text=error)

    def on_success(self, job: Job) -> None:
        """Note that a job's checkpoint is loaded, even after an earlier failure."""
        if self.status.phase != "loading" and isinstance(job.plan, Plan):
            self._on_ready(job.plan.checkpoint.name)

    def needs_load(self, model: ModelSpec) -> bool:
        """Return whether another model was requested last, or loading it failed."""
        return model != self._requested or self.status.phase == "failed"

    def load(self, model: ModelSpec, checkpoints_limit: int) -> None:
        """Start loading a model.

        Args:
            model: The checkpoint, and how it is loaded.
            checkpoints_limit: How many checkpoints may be loaded at once from now on.
        """
        self._requested, self._is_unloaded = model, False
        checkpoint = model.checkpoint
        self.status = replace(self.status, phase="loading", text=f"Loading {checkpoint.name}")
        self._load_when_idle(
            LoadModel(model, checkpoints_limit), partial(self._on_loaded, checkpoint)
        )

    def reload(self, model: ModelSpec, checkpoints_limit: int) -> None:
        """Start loading a model unless it was requested last and is not unloaded."""
        if self._is_unloaded or model != self._requested:
            self.load(model, checkpoints_limit)

    def unload(self) -> Future[None]:
        """Unload all checkpoints once the work queued before is done; the next job loads its own again."""
        self._is_unloaded = True
        future = self._executor.submit(UnloadModels())
        future.add_done_callback(lambda _: self._on_ready(""))
        return future

    def _on_ready(self, checkpoint: str) -> None:
        self.status = replace(self.status, phase="ready", text="Ready", checkpoint=checkpoint)

    def _on_loaded(self, checkpoint: Checkpoint, future: Future[None]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._on_ready(checkpoint.name)
        else:
            logger.warning("%s", error)
            self.status = replace(self.status, phase="failed", text=str(error), checkpoint="")
