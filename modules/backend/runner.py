"""The backend's entry point: runs plans and other work; images go to the listener."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from modules.backend import generate
from modules.backend.denoise.progress import BatchSkipped, raise_if_interrupted
from modules.backend.device import DEVICES, Device, DeviceType, choose_device, memory_stats
from modules.backend.handlers import HANDLERS, Handler
from modules.backend.loading.cache import ModelCache
from modules.backend.model import LoadedModel
from modules.core.errors import NotFinite, OutOfMemory
from modules.models.manager import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.device_options import DeviceOptions
from modules.params.events import Listener
from modules.plan.plan import Plan
from modules.plan.work import Work
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)


class Runner:
    """Owns the device and the loaded models. Used by one thread.

    Args:
        options: Device options of the command line.
        tokenizer: Splits prompts.
        handlers: Functions of device work outside the job queue, by the kind of work.
        devices: Kinds of devices, in order of preference.
    """

    def __init__(
        self,
        options: DeviceOptions,
        tokenizer: ClipTokenizer,
        handlers: Mapping[type, Handler] = HANDLERS,
        devices: Sequence[DeviceType] = DEVICES,
    ) -> None:
        self.device: Device = choose_device(options, devices)
        self._handlers = handlers
        self._cache = ModelCache(self.device.torch_device, tokenizer)
        # Index of the precision that each checkpoint needs after an overflow.
        self._precision_indices: dict[Path, int] = {}

    @torch.inference_mode()
    def load(self, spec: ModelSpec) -> None:
        """Load a checkpoint before its first job."""
        self._acquire(spec)

    def unload(self) -> None:
        """Unload every checkpoint."""
        self._cache.clear()

    def memory(self) -> dict[str, Any]:
        """Return the device's bytes of memory in A1111's form; may be called from any thread."""
        return memory_stats(self.device.torch_device)

    @torch.inference_mode()
    def handle(self, work: Work) -> Any:  # what HANDLERS returns for the kind of work
        """Return the result of device work outside the job queue.

        Raises:
            WebUIError: the work cannot be done, or the checkpoint cannot be loaded.
        """
        return self._handlers[type(work)](self._acquire(work.model), work)

    @torch.inference_mode()
    def run(self, plan: Plan, listener: Listener) -> None:
        """Run a plan.

        Raises:
            Cancelled: the job was interrupted.
            OutOfMemory: the device has too little memory.
            NotFinite: even the highest precision produced invalid numbers.
            BadFile: the checkpoint cannot be loaded.
        """
        for note in plan.notes:
            listener.on_note(note)
        for batch_index in range(len(plan.batches)):
            listener.on_batch(batch_index)
            try:
                self._run_batch(plan, batch_index, listener)
            except BatchSkipped:
                listener.on_note(f"Batch {batch_index + 1} of {len(plan.batches)} was skipped.")
                continue
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                logger.warning("Out of memory: %s", error)
            else:
                continue
            # Outside the except block: a traceback would keep the tensors alive.
            self._cache.clear()
            raise OutOfMemory(
                f"{self.device.label} has too little memory for a batch of {plan.request.batch_size} at "
                f"{plan.request.width}x{plan.request.height}.",
                "Use a smaller size or batch size.",
            )

    def _run_batch(self, plan: Plan, batch_index: int, listener: Listener) -> None:
        """Generate one batch, again in the next higher precision after each overflow."""
        while True:
            listener.on_phase(f"Loading {plan.checkpoint.name}")
            self._acquire(plan.model)
            raise_if_interrupted(listener)
            try:
                generate.generate_batch(
                    self._acquire, plan, batch_index, listener, self.device.torch_device
                )
            # Not the VAE's overflow: it has no higher precision, and images may already be handed out.
            except generate.UNetOverflow as error:
                checkpoint = error.checkpoint
                index = self._precision_index(checkpoint) + 1
                if index >= len(self.device.precisions):
                    hires_plan = plan.hires.plan if plan.hires else plan
                    failed_plan = plan if checkpoint == plan.checkpoint else hires_plan
                    _check_weights(self._acquire(failed_plan.model), checkpoint.name)
                    raise
                self._precision_indices[checkpoint.path] = index
                dtype = self.device.precisions[index].unet
                note = f"{checkpoint.name} overflowed in half precision and runs again in {dtype}."
                logger.warning(note)
                listener.on_note(note)
            else:
                return

    def _precision_index(self, checkpoint: Checkpoint) -> int:
        return self._precision_indices.get(checkpoint.path, 0)

    def _acquire(self, model: ModelSpec) -> LoadedModel:
        return self._cache.acquire(
            model, self.device.precisions[self._precision_index(model.checkpoint)]
        )


def _check_weights(model: LoadedModel, name: str) -> None:
    """Raise NotFinite for the first weight that is NaN or infinite, if there is one."""
    components = model.components
    for component in (
        components.unet,
        components.vae,
        components.text_encoder,
        components.depth_estimator,
    ):
        if component is None:
            continue
        for key, weight in component.state_dict().items():
            if not bool(torch.isfinite(weight).all()):
                raise NotFinite(
                    f"'{name}' is damaged: its {type(component).__name__} has invalid numbers (NaN) in {key}.",
                    "Download the file again, or choose another checkpoint.",
                )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out; the CPU and MPS raise no class of their own for it."""
    messages = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(
        message in str(error) for message in messages
    )
