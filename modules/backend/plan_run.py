"""Runs a plan batch by batch: skipped batches, overflows and too little memory."""

from __future__ import annotations

import logging

from modules.backend import generate, memory
from modules.backend.denoise.progress import BatchSkipped, raise_if_interrupted
from modules.backend.loaded_models import LoadedModels
from modules.core.errors import OutOfMemory
from modules.params.events import BatchStarted, CancelToken, Note, Phase, Sink
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)


def run_plan(models: LoadedModels, plan: Plan, sink: Sink, cancel: CancelToken) -> None:
    """Generate the images of a plan.

    Raises:
        Cancelled: the job was interrupted.
        OutOfMemory: the device has too little memory.
        NotFinite: even the highest precision produced invalid numbers.
        BadFile: the checkpoint cannot be loaded.
    """
    models.set_limit(plan.settings.sd_checkpoints_limit)
    for note in (*plan.notes, *models.changed_files(plan.model)):
        sink(Note(note))
    for batch_index in range(len(plan.batches)):
        sink(BatchStarted(batch_index))
        try:
            _run_batch(models, plan, batch_index, sink, cancel)
        except BatchSkipped:
            sink(Note(f"Batch {batch_index + 1} of {len(plan.batches)} was skipped."))
            continue
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
            logger.warning("Out of memory: %s", error)
        else:
            continue
        # Outside the except block: a traceback would keep the tensors alive.
        models.clear()
        raise OutOfMemory(
            f"{models.device.label} has too little memory for a batch of {plan.request.batch_size} at "
            f"{plan.request.width}x{plan.request.height}.",
            "Use a smaller size or batch size.",
        )


def _run_batch(
    models: LoadedModels, plan: Plan, batch_index: int, sink: Sink, cancel: CancelToken
) -> None:
    """Generate one batch, again in the next higher precision after each overflow."""
    while True:
        sink(Phase(f"Loading {plan.checkpoint.name}"))
        models.acquire(plan.model)
        raise_if_interrupted(cancel)
        try:
            generate.generate_batch(
                models.acquire, models.device.torch_device, plan, batch_index, sink, cancel
            )
        # Not the VAE's overflow: it has no higher precision, and images may already be handed out.
        except generate.UNetOverflow as error:
            checkpoint = error.checkpoint
            precision = models.raise_precision(checkpoint)
            if precision is None:
                hires_plan = plan.hires.plan if plan.hires else plan
                failed_plan = plan if checkpoint == plan.checkpoint else hires_plan
                models.acquire(failed_plan.model)  # the last one used is checked for damage
                raise
            note = f"{checkpoint.name} overflowed in half precision and runs again in {precision.unet}."
            logger.warning(note)
            sink(Note(note))
        else:
            return
