"""Handles every step of a batch: interrupt, progress, preview."""

from __future__ import annotations

import time

from PIL import Image
from torch import Tensor

from modules.backend.denoise.step_extensions import StepExtension, StepState
from modules.backend.memory.transfers import CopyStart, HostCopy, start_copy_to_host
from modules.backend.previews.previewer import Previewer
from modules.core.errors import Cancelled
from modules.params.events import CancelToken, Phase, Preview, Progress, Sink
from modules.plan.plan import Plan


class ProgressReporter(StepExtension):
    """Reports the steps of one batch over all its passes. Never waits for the device: a preview comes when it is ready.

    Args:
        sink: Receives progress and previews.
        cancel: Says whether to stop, and whether a preview is wanted.
        plan: Number of batches, and whether there is a hires pass.
        batch_index: Index of the batch, from 0.
        start_copy: Copies a preview from the device.

    Attributes:
        phase: What the steps are called that have begun.
    """

    def __init__(
        self,
        sink: Sink,
        cancel: CancelToken,
        plan: Plan,
        batch_index: int,
        start_copy: CopyStart = start_copy_to_host,
    ) -> None:
        self._sink = sink
        self._cancel = cancel
        self._batch_index = batch_index
        self._batch_count = len(plan.batches)
        self._previous_pass_steps = 0  # evaluations of the first pass, once the hires pass runs
        self._pass_steps = 0  # of the running pass
        self._next_pass_steps = _evaluation_count(plan.hires.plan) if plan.hires else 0
        self._has_begun = False
        self.phase = ""
        self._previewer: Previewer | None = None
        self._settings = plan.settings
        self._start_copy = start_copy
        self._copy: HostCopy | None = None  # of a preview on its way
        self._started_at = time.perf_counter()
        cancel.delay_preview()  # the time before the first one counts, too
        self._saves_unfinished = plan.settings.save_incomplete_images
        self._denoised: Tensor | None = None  # x0 as predicted in the latest step

    def begin_pass(self, previewer: Previewer | None) -> None:
        """Start counting a new pass with its previews."""
        if self._has_begun:
            self._previous_pass_steps, self._next_pass_steps = self._pass_steps, 0
        self._has_begun = True
        self.change_model(previewer)

    def change_model(self, previewer: Previewer | None) -> None:
        """Make previews with another model from now on, or let go of the one so far."""
        self._previewer = previewer

    def begin_steps(self, phase: str) -> None:
        """Report that the steps of a model begin, by what they are called."""
        self.phase = phase
        self._sink(Phase(phase))

    @property
    def unfinished(self) -> Tensor | None:
        """Return x0 of the job's first image, [1, channels, rows, columns], if it is to be kept unfinished."""
        is_wanted = self._saves_unfinished or self._cancel.wants_unfinished()
        if self._batch_index or self._denoised is None or not is_wanted:
            return None
        return self._denoised[:1]

    def on_step(self, state: StepState) -> None:
        """Report one step.

        Raises:
            Cancelled: the job was interrupted.
            BatchSkipped: its batch was skipped.
        """
        self._denoised = state.denoised
        raise_if_interrupted(self._cancel)
        self._pass_steps = state.total
        total = self._previous_pass_steps + self._pass_steps + self._next_pass_steps
        done = self._previous_pass_steps + state.index + 1
        speed = done / max(time.perf_counter() - self._started_at, 1e-6)
        self._sink(Progress(self._batch_index * total + done, self._batch_count * total, speed))
        self._send_preview()
        previewer = self._previewer
        is_turn = (state.index + 1) % self._settings.preview_step == 0
        if previewer is not None and self._copy is None and is_turn:
            self._show(previewer, state.denoised)

    def _show(self, previewer: Previewer, denoised: Tensor) -> None:
        """Make a preview if somebody looks and the last one is old enough."""
        latents = denoised if self._settings.show_progress_grid else denoised[:1]
        if self._cancel.wants_preview(previewer.interval_s) and self._cancel.wants_preview(
            previewer.pause_s(latents)
        ):
            previewer.show(latents, self._start_preview)

    def _start_preview(self, pixels: Tensor) -> None:
        self._copy = self._start_copy(pixels)
        self._send_preview()

    def _send_preview(self) -> None:
        """Pass on the preview that is on its way, if it has arrived."""
        if self._copy is not None and self._copy.is_ready():
            self._sink(Preview(Image.fromarray(self._copy.result().numpy())))
            self._copy = None


def _evaluation_count(hires_plan: Plan) -> int:
    """Return the estimated number of evaluations of a hires pass; the exact one is known when it starts."""
    return hires_plan.request.steps * hires_plan.sampler.evaluations_per_step


class BatchSkipped(Exception):
    """The running batch was skipped; the job goes on with the next one."""


def raise_if_interrupted(cancel: CancelToken) -> None:
    """Raise Cancelled if the job was interrupted, BatchSkipped if its batch was skipped."""
    if cancel.is_interrupted():
        raise Cancelled("The job was interrupted.")
    if cancel.is_batch_skipped():
        raise BatchSkipped
