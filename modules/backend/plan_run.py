"""Runs a plan batch by batch: skipped batches, overflows and too little memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from modules.backend import generate
from modules.backend.denoise.progress import BatchSkipped, raise_if_interrupted
from modules.backend.loaded_models import LoadedModels
from modules.backend.memory import estimate
from modules.backend.memory.policies import MemoryPolicy
from modules.backend.stages.decoding import decode_images
from modules.backend.stages.pending_images import PendingImages
from modules.core.errors import NotFinite, OutOfMemory
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Event,
    Note,
    Output,
    Phase,
    Sink,
)
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
    if not plan.settings.persistent_cond_cache:
        models.forget_prompts()
    notes = (*plan.notes, *models.changed_files(plan.model), models.precision_note(plan.model))
    for note in filter(None, notes):
        sink(Note(note))
    with _delivering_all(PendingImages(models.overlap)) as pending:
        sink = pending.delivering(sink)
        indices = range(len(plan.batches)) if plan.batch_indices is None else plan.batch_indices
        for batch_index in indices:
            sink(BatchStarted(batch_index))
            run = _Run(models, sink, cancel, pending)
            try:
                _run_batch_in_memory(run, plan.for_batch(batch_index), batch_index)
            except BatchSkipped:
                sink(Note(f"Batch {batch_index + 1} of {len(plan.batches)} was skipped."))


@contextmanager
def _delivering_all(pending: PendingImages) -> Iterator[PendingImages]:
    """Deliver all images at the end; those of earlier batches also where a later one fails or is interrupted."""
    try:
        yield pending
    except BaseException:
        with suppress(NotFinite, RuntimeError):  # the first failure is reported
            pending.deliver_all()
        raise
    pending.deliver_all()


@dataclass(frozen=True)
class _Run:
    """What the batches of a job share.

    Args:
        models: The device and its checkpoints.
        sink: Receives events.
        cancel: Interrupts the job.
        pending: Images of earlier batches that are being decoded.
    """

    models: LoadedModels
    sink: Sink
    cancel: CancelToken
    pending: PendingImages


class _Images:
    """A sink that passes events on and records whether there was a result, which must not come twice."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.has_any = False

    def __call__(self, event: Event) -> None:
        self._sink(event)
        self.has_any |= isinstance(event, Output) and event.kind in ("image", "recording")


def _run_batch_in_memory(run: _Run, plan: Plan, batch_index: int) -> None:
    """Generate one batch, again with the next memory policy after each lack of memory, where the options allow it."""
    models = run.models
    while True:
        images = _Images(run.sink)
        try:
            _run_batch(replace(run, sink=images), plan, batch_index)
        except RuntimeError as error:
            if not estimate.is_out_of_memory(error):
                raise
            logger.warning("Out of memory: %s", error)
        else:
            return
        # Outside the except block: a traceback would keep the tensors alive.
        run.pending.deliver_all()
        lower = models.next_policy()
        note = models.lower_memory()
        if not note or images.has_any:
            raise _out_of_memory(models, plan, lower)
        run.sink(Note(note))


def _out_of_memory(models: LoadedModels, plan: Plan, lower: MemoryPolicy | None) -> OutOfMemory:
    request = plan.request
    policy = f", or choose '{lower.name}' in the Models settings" if lower else ""
    return OutOfMemory(
        f"{models.device.label} has too little memory for a batch of {request.batch_size} at "
        f"{request.width}x{request.height}{estimate.units_phrase(len(plan.control))}.",
        f"Use {'fewer units, ' if plan.control else ''}a smaller size or batch size{policy}.",
    )


def _run_batch(run: _Run, plan: Plan, batch_index: int) -> None:
    """Generate one batch, again in the next higher precision after each overflow."""
    models, sink, cancel = run.models, run.sink, run.cancel
    while True:
        sink(Phase(f"Loading {plan.checkpoint.name}"))
        models.acquire(plan.model)
        raise_if_interrupted(cancel)
        try:
            sampled = generate.sample_batch(
                models.acquire,
                models.upscalers,
                plan,
                batch_index,
                sink,
                cancel,
                models.preprocessors,
            )
        # Not the VAE's overflow, which has no higher precision.
        except generate.UNetOverflow as error:
            precision = models.raise_precision(error.model)
            if precision is None:
                models.acquire(error.model)  # the last one used is checked for damage
                raise
            note = f"{error.model.checkpoint.name} overflowed in half precision and runs again in {precision.unet}."
            logger.warning(note)
            run.pending.deliver_all()  # before its model leaves
            sink(Note(note))
        else:
            decode_images(sampled, run.pending)
            return
