"""What follows the steps of a batch: interrupt, progress, preview."""

from __future__ import annotations

import time

from modules.backend.denoise.sampler_scheduler import StepState
from modules.backend.model import LoadedModel
from modules.core.errors import Cancelled
from modules.params.events import Listener, Progress
from modules.plan.plan import Plan


class ProgressReporter:
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
        self._previous_pass_steps = 0  # evaluations of the first pass, once the second has begun
        self._pass_steps = 0  # of the running pass
        self._next_pass_steps = _evaluation_count(plan.hires.plan) if plan.hires else 0
        self._model: LoadedModel | None = None
        self._started_at = time.perf_counter()

    def begin_pass(self, model: LoadedModel) -> None:
        """Follow a pass from its beginning; the model makes its previews."""
        if self._model is not None:
            self._previous_pass_steps, self._next_pass_steps = self._pass_steps, 0
        self._model = model

    def __call__(self, state: StepState) -> None:
        """Take note of one step.

        Raises:
            Cancelled: the job was interrupted.
        """
        raise_if_interrupted(self._listener)
        self._pass_steps = state.total
        total = self._previous_pass_steps + self._pass_steps + self._next_pass_steps
        done = self._previous_pass_steps + state.index + 1
        speed = done / max(time.perf_counter() - self._started_at, 1e-6)
        self._listener.on_progress(
            Progress(self._batch_index * total + done, self._batch_count * total, speed)
        )
        if self._model is not None and self._listener.wants_preview():
            self._listener.on_preview(self._model.latent_to_rgb(state.denoised))


def _evaluation_count(second: Plan) -> int:
    """Return how many evaluations a second pass is likely to have; it is known when it begins."""
    return second.request.steps * second.sampler.evaluations_per_step


class BatchSkipped(Exception):
    """The running batch is not wanted any more; the next one is."""


def raise_if_interrupted(listener: Listener) -> None:
    """Raise Cancelled when the job should stop, and Skipped when its batch should."""
    if listener.is_interrupted():
        raise Cancelled("The job was interrupted.")
    if listener.is_skipped():
        raise BatchSkipped
