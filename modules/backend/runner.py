"""The backend's entry point: hands each piece of work to the function for its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from modules.backend.device import DEVICES, Device, DeviceType, choose_device, memory_stats
from modules.backend.handlers import HANDLERS, Handler
from modules.backend.loaded_models import LoadedModels
from modules.core.errors import NotFinite, Unsupported
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Sink, ignore_events
from modules.plan.work import Work
from modules.prompt.tokens import ClipTokenizer

R = TypeVar("R")


class Runner:
    """Owns the device and the loaded models. Used by one thread.

    Args:
        options: Device options of the command line.
        tokenizer: Splits prompts.
        cache_folder: Keeps what was measured about checkpoints; None keeps nothing for the next start.
        handlers: One function for each kind of work.
        devices: Kinds of devices, in order of preference.
    """

    def __init__(
        self,
        options: DeviceOptions,
        tokenizer: ClipTokenizer,
        cache_folder: Path | None = None,
        handlers: Mapping[type, Handler] = HANDLERS,
        devices: Sequence[DeviceType] = DEVICES,
    ) -> None:
        self.models = LoadedModels(choose_device(options, devices), tokenizer, cache_folder)
        self._handlers = handlers

    @property
    def device(self) -> Device:
        """Return the open device."""
        return self.models.device

    def memory(self) -> dict[str, Any]:
        """Return the device's bytes of memory in A1111's form; may be called from any thread."""
        return memory_stats(self.device.torch_device)

    @torch.inference_mode()
    def run(
        self, work: Work[R], sink: Sink = ignore_events, cancel: CancelToken | None = None
    ) -> R:
        """Do some work and return its result.

        Args:
            work: A plan of a job, or another kind of work.
            sink: Receives events.
            cancel: Interrupts the work.

        Raises:
            Cancelled: the work was interrupted.
            BadFile: a checkpoint cannot be loaded, or has invalid numbers.
            WebUIError: it cannot be done.
        """
        handle = self._handlers.get(type(work))
        if handle is None:
            raise Unsupported(f"This device cannot do the work '{type(work).__name__}'.")
        try:
            # Each handler returns what its kind of work declares.
            return cast("R", handle(self.models, work, sink, cancel or CancelToken()))
        except (NotFinite, RuntimeError, ValueError, ArithmeticError):
            self.models.check_weights()  # a damaged file is the better explanation
            raise
