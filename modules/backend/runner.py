"""The backend's one door: work in, pictures out through the listener."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from modules.backend import generate
from modules.backend.denoise.progress import BatchSkipped, raise_if_interrupted
from modules.backend.device import Device, choose_device, memory_stats
from modules.backend.handlers import HANDLERS
from modules.backend.loading.cache import ModelCache
from modules.backend.model import LoadedModel
from modules.core.errors import NotFinite, OutOfMemory
from modules.models.manager import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.params.device import DeviceOptions
from modules.params.events import Listener
from modules.plan.plan import Plan
from modules.plan.work import Work
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)


class Runner:
    """Owns the device and what is loaded on it. Used by one thread.

    Args:
        options: What the command line says about the device.
        tokenizer: Splits prompts.
    """

    def __init__(self, options: DeviceOptions, tokenizer: ClipTokenizer) -> None:
        self.device: Device = choose_device(options)
        self._cache = ModelCache(self.device.torch_device, tokenizer)
        self._precision_indices: dict[
            Path, int
        ] = {}  # the precision that each checkpoint was found to need

    @torch.inference_mode()
    def load(self, spec: ModelSpec) -> None:
        """Load a checkpoint ahead of its first job."""
        self._acquire(spec)

    def unload(self) -> None:
        """Let go of every checkpoint."""
        self._cache.clear()

    def memory(self) -> dict[str, Any]:
        """Return the device's bytes of memory in A1111's form; may be called from any thread."""
        return memory_stats(self.device.torch_device)

    @torch.inference_mode()
    def handle(self, work: Work) -> Any:  # what HANDLERS returns for the kind of work
        """Return the answer to a question.

        Raises:
            WebUIError: it has none, or the checkpoint cannot be loaded.
        """
        return HANDLERS[type(work)](self._acquire(work.model), work)

    @torch.inference_mode()
    def run(self, plan: Plan, listener: Listener) -> None:
        """Carry out a plan.

        Raises:
            Cancelled: the listener was interrupted.
            OutOfMemory: the device has too little memory.
            NotFinite: even the highest precision gave invalid numbers.
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
                if not is_out_of_memory(error):
                    raise
                logger.warning("Out of memory: %s", error)
            else:
                continue
            # Outside the except block: a traceback would keep the tensors alive.
            self._cache.clear()
            raise OutOfMemory(
                f"{self.device.label} has too little memory for {plan.request.batch_size} at once of "
                f"{plan.request.width}x{plan.request.height}.",
                "Use a smaller size or batch size.",
            )

    def _run_batch(self, plan: Plan, batch_index: int, listener: Listener) -> None:
        """Make one batch, a precision higher each time that numbers overflow."""
        while True:
            listener.on_phase(f"Loading {plan.checkpoint.name}")
            self._acquire(plan.model)
            raise_if_interrupted(listener)
            try:
                generate.generate_batch(
                    self._acquire, plan, batch_index, listener, self.device.torch_device
                )
            # Not the VAE's overflow: it has no higher precision, and pictures may be out.
            except generate.UNetOverflow as error:
                checkpoint = error.checkpoint
                tier = self._precision_index(checkpoint) + 1
                if tier >= len(self.device.precisions):
                    second = plan.hires.plan if plan.hires else plan
                    guilty = plan if checkpoint == plan.checkpoint else second
                    _blame_weights(self._acquire(guilty.model), checkpoint.name)
                    raise
                self._precision_indices[checkpoint.path] = tier
                note = f"{checkpoint.name} overflowed in half precision; made again in {self.device.precisions[tier].unet}."
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


def _blame_weights(model: LoadedModel, name: str) -> None:
    """Raise NotFinite with the first weight that is no number, if there is one."""
    parts = model.components
    for part in (parts.unet, parts.vae, parts.text_encoder, parts.depth_estimator):
        if part is None:
            continue
        for key, weight in part.state_dict().items():
            if not bool(torch.isfinite(weight).all()):
                raise NotFinite(
                    f"'{name}' is damaged: its {type(part).__name__} has invalid numbers (NaN) in {key}.",
                    "Get the file again from its source, or choose another checkpoint.",
                )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the error means that memory ran out; the CPU and MPS have no class for it."""
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
