"""PoolJob: some work in the pool, whose batches several workers may make, and what comes back of them in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from modules.core.errors import Cancelled, WebUIError
from modules.engine.executors.work_facts import checkpoint_of
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Event,
    Note,
    Output,
    Phase,
    Preview,
    Progress,
    Sink,
)
from modules.plan.jobs.merge import MergePlan
from modules.plan.plan import Plan
from modules.plan.work import DescribeImage, Work

logger = logging.getLogger(__name__)

# A worker that is lost before the first event did not end of this work, but a few such are enough, too.
_UNSEEN = 0.1
# They read a folder, or write a file, of the server's machine.
_ON_SERVER = (MergePlan, DescribeImage)


class Piece:
    """What one worker does at once: some batches of a job, or work that has no batches.

    Args:
        job: The job.
        indices: Its batches; () for work that has none.
    """

    def __init__(self, job: PoolJob, indices: tuple[int, ...]) -> None:
        self.job = job
        self.indices = indices
        self.batch = indices[0] if indices else 0  # the one that is running
        self.steps_per_second = 0.0
        self.has_begun = False
        self.cancel = _PieceToken(job.cancel, self._leads)

    @property
    def work(self) -> Work[Any]:
        """Return what the worker does."""
        work = self.job.work
        return replace(work, batch_indices=self.indices) if isinstance(work, Plan) else work

    def receive(self, event: Event) -> None:
        """Receive an event of the worker, on the worker's thread."""
        self.has_begun = True
        self.job.receive(self, event)

    def _leads(self) -> bool:
        return self.job.leads(self)


class _PieceToken(CancelToken):
    """The job's requests as they count for one piece: only the first one is skipped and previewed."""

    def __init__(self, job: CancelToken, leads: Callable[[], bool]) -> None:
        super().__init__()
        self._job = job
        self._leads = leads
        self.was_skipped = False

    def is_interrupted(self) -> bool:
        return super().is_interrupted() or self._job.is_interrupted()

    def is_batch_skipped(self) -> bool:
        if not (self._job.is_batch_skipped() and self._leads()):
            return False
        self.was_skipped = True
        return True

    def end_skip(self) -> None:
        if self.was_skipped:
            self.was_skipped = False
            self._job.end_skip()

    def wants_unfinished(self) -> bool:
        return self._job.wants_unfinished()

    def delay_preview(self) -> None:
        self._job.delay_preview()

    def wants_preview(self, pause_s: float = 0.0) -> bool:
        return self._leads() and self._job.wants_preview(pause_s)


class PoolJob:
    """Some work in the pool. Its batches are handed out under the pool's lock; events come under one of its own.

    Args:
        work: The work.
        sink: Receives its events, one at a time; the images in the order of their batches.
        cancel: Interrupts it.
        job_id: The job that it is for.
    """

    def __init__(
        self, work: Work[Any], sink: Sink, cancel: CancelToken | None, job_id: str = ""
    ) -> None:
        self.work = work
        self.cancel = cancel or CancelToken()
        self.job_id = job_id
        self.future: Future[Any] = Future()
        self.submitted_at = time.monotonic()
        checkpoint = checkpoint_of(work)
        self.checkpoint: Path | None = None if checkpoint is None else checkpoint.path
        self.is_on_server = isinstance(work, _ON_SERVER)
        self.pieces: list[Piece] = []  # that workers have
        self._sink = sink
        self._delivery = threading.RLock()
        self._error: BaseException | None = None
        self._has_begun = self._is_finished = False
        batches = work.batches if isinstance(work, Plan) else ()
        self._batch_of_image = {
            image.index: number for number, batch in enumerate(batches) for image in batch
        }
        self._missing = [{image.index for image in batch} for batch in batches]
        self._waiting: list[int] = list(range(max(1, len(batches))))
        if isinstance(work, Plan) and work.batch_indices is not None:
            self._waiting = list(work.batch_indices)
        self._losses: dict[int, float] = {}  # how often each batch was lost
        self._steps: dict[int, int] = {}  # steps done of each batch
        self._held: dict[int, list[Output]] = {}  # images whose turn has not come, by batch
        self._open = sorted(self._waiting)  # batches that may still bring images, in order

    # Handing out; the caller holds the lock of the pool.

    @property
    def has_waiting(self) -> bool:
        """Return whether there is something for another worker to do."""
        is_last = self._has_begun and self.cancel.stops_after_batch()
        return bool(self._waiting) and not (
            is_last or self.cancel.is_interrupted() or self._error is not None
        )

    @property
    def is_over(self) -> bool:
        """Return whether no worker has anything of it, and none is to get anything."""
        return not self.pieces and not self.has_waiting

    def take(self, takes_all: bool) -> Piece | None:
        """Hand out the next batch, or all that are left; None if the job was cancelled before its start."""
        if not self._has_begun and not self.future.set_running_or_notify_cancel():
            self._waiting.clear()
            return None
        self._has_begun = True
        count = len(self._waiting) if takes_all else 1
        indices, self._waiting = tuple(self._waiting[:count]), self._waiting[count:]
        piece = Piece(self, indices if isinstance(self.work, Plan) else ())
        self.pieces.append(piece)
        return piece

    def put_back(self, piece: Piece, reason: str) -> str:
        """Let another worker make what a lost worker had; end the job with an error where that happened twice.

        Returns:
            A note for the user.
        """
        lost = [index for index in piece.indices or (0,) if self._is_missing(index)]
        self.pieces.remove(piece)
        for index in lost:
            self._losses[index] = self._losses.get(index, 0.0) + (1 if piece.has_begun else _UNSEEN)
        what = f"batch {lost[0] + 1} of {self._batch_count}" if piece.indices and lost else "it"
        if any(self._losses[index] > 1 for index in lost):
            self.fail(
                WebUIError(
                    f"Two workers ended while they made {what}: {reason}.",
                    "The finished pictures are kept; the log has the details.",
                )
            )
            return ""
        self._waiting = sorted({*self._waiting, *lost})
        return f"A worker was lost ({reason}); another one makes {what} again." if lost else ""

    def put_down(self, piece: Piece) -> None:
        """Note that a worker has done its piece."""
        self.pieces.remove(piece)

    def fail(self, error: BaseException) -> None:
        """End the job with an error, the first one; what still runs of it is interrupted."""
        if self._error is None or isinstance(self._error, Cancelled):
            self._error = error
        for piece in self.pieces:
            piece.cancel.interrupt()

    def leads(self, piece: Piece) -> bool:
        """Return whether a piece is the first of those that run: it alone is shown and skipped."""
        return all(piece.batch <= other.batch for other in tuple(self.pieces))

    # Events; on the threads of the workers.

    def receive(self, piece: Piece, event: Event) -> None:
        """Pass an event of a worker on, as if one worker did the whole job."""
        if not isinstance(self.work, Plan):
            with self._delivery:
                self._sink(event)
            return
        with self._delivery:
            match event:
                case BatchStarted(index):
                    self._begin_batch(piece, index)
                case Progress():
                    self._sink(self._total(piece, event))
                case Preview() | Phase():
                    if self.leads(piece):
                        self._sink(event)
                case Output(kind="image"):
                    self._receive_image(event)
                case _:
                    self._sink(event)

    def close(self, piece: Piece) -> None:
        """Note that nothing more comes from a piece, which was not lost."""
        with self._delivery:
            piece.cancel.end_skip()
            self._open = [index for index in self._open if index not in piece.indices]
            self._deliver()

    def report(self, *events: Event) -> None:
        """Pass on events of the pool."""
        with self._delivery:
            for event in events:
                self._sink(event)

    def finish(self, result: Any = None) -> None:
        """End the job: pass on the images that are left, then resolve the future; only the first call counts.

        Args:
            result: Of the work. Any: depends on its kind.
        """
        with self._delivery:
            if self._is_finished:  # two workers may end their last pieces at the same moment
                return
            self._is_finished = True
            try:
                self._open = []
                self._deliver()
            except Exception as error:  # noqa: BLE001  such as a full disk; the first reason counts
                self.fail(error)
        error = self._error
        if error is None and (self.cancel.is_interrupted() or self._waiting):
            error = Cancelled("The job was interrupted.")
        if self.future.done():  # cancelled before its start
            return
        if not self._has_begun and not self.future.set_running_or_notify_cancel():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    @property
    def _batch_count(self) -> int:
        return len(self._missing)

    def _is_missing(self, index: int) -> bool:
        return not self._missing or bool(self._missing[index])

    def _begin_batch(self, piece: Piece, index: int) -> None:
        piece.cancel.end_skip()
        if index != piece.indices[0] and self.cancel.stops_after_batch():
            piece.cancel.interrupt()
        piece.batch, piece.steps_per_second = index, 0.0

    def _total(self, piece: Piece, event: Progress) -> Progress:
        """Return the progress of the job from that of a piece, which counts all batches before its own as done."""
        steps_per_batch = event.steps // max(1, self._batch_count)
        self._steps[piece.batch] = event.step - piece.batch * steps_per_batch
        piece.steps_per_second = event.steps_per_second
        speed = sum(one.steps_per_second for one in tuple(self.pieces))
        return Progress(sum(self._steps.values()), event.steps, speed)

    def _receive_image(self, output: Output) -> None:
        index = self._batch_of_image[output.index]
        if output.index not in self._missing[index]:
            return  # a lost worker has sent it already
        self._missing[index].remove(output.index)
        self._held.setdefault(index, []).append(output)
        if not self._missing[index]:
            self._open = [other for other in self._open if other != index]
        self._deliver()

    def _deliver(self) -> None:
        """Pass on the images whose turn has come."""
        first = self._open[0] if self._open else self._batch_count
        for index in sorted(self._held):
            if index <= first:
                for output in self._held.pop(index):
                    self._sink(output)


def lost_events(note: str, has_worker: bool) -> tuple[Event, ...]:
    """Return the note of a job that has lost a worker.

    Args:
        note: What was lost; "" for nothing.
        has_worker: Whether there is another worker.
    """
    events: tuple[Event, ...] = (Note(note),) if note else ()
    return events if has_worker else (*events, Phase("Waiting for a worker"))
