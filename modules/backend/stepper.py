"""What follows the steps of a batch: interrupt, progress, preview."""

from __future__ import annotations

import time

from modules.backend.cache import LoadedModel
from modules.backend.scheduler import StepState
from modules.core.errors import Cancelled
from modules.params.events import Listener, Progress
from modules.plan.plan import Plan


class Stepper:
    """Follows the steps of one batch, pass after pass. No wait for the device but for a preview.

    Args:
        listener: Whoever follows the job.
        plan: How many batches there are, and whether there is a second pass.
        batch_index: Number of the batch, from 0.
    """

    def __init__(self, listener: Listener, plan: Plan, batch_index: int) -> None:
        self._listener = listener
        self._batch_index = batch_index
        self._batch_count = len(plan.batches)
        self._before = 0  # evaluations of the first pass, once the second has begun
        self._own = 0  # of the running pass
        self._after = _evaluation_count(plan.hires.plan) if plan.hires else 0
        self._model: LoadedModel | None = None
        self._began = time.perf_counter()

    def begin(self, model: LoadedModel) -> None:
        """Follow a pass from its beginning; the model makes its previews."""
        if self._model is not None:
            self._before, self._after = self._own, 0
        self._model = model

    def __call__(self, state: StepState) -> None:
        """Take note of one step.

        Raises:
            Cancelled: the job was interrupted.
        """
        stop_if_interrupted(self._listener)
        self._own = state.total
        total = self._before + self._own + self._after
        done = self._before + state.index + 1
        speed = done / max(time.perf_counter() - self._began, 1e-6)
        self._listener.on_progress(
            Progress(self._batch_index * total + done, self._batch_count * total, speed)
        )
        if self._model is not None and self._listener.wants_preview():
            self._listener.on_preview(self._model.preview(state.denoised))


def _evaluation_count(second: Plan) -> int:
    """Return how many evaluations a second pass is likely to have; it is known when it begins."""
    return second.request.steps * second.sampler.evaluations_per_step


class Skipped(Exception):
    """The running batch is not wanted any more; the next one is."""


def stop_if_interrupted(listener: Listener) -> None:
    """Raise Cancelled when the job should stop, and Skipped when its batch should."""
    if listener.is_interrupted():
        raise Cancelled("The job was interrupted.")
    if listener.is_skipped():
        raise Skipped
