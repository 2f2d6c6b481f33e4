"""A worker of the pool without a device: it sleeps for each step, and its images have one colour each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from modules.core.errors import Cancelled
from modules.engine.executors.worker_link import Memory, WorkerFacts, WorkerLost
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Note,
    Output,
    Phase,
    Preview,
    Progress,
    Sink,
)
from modules.plan.plan import Plan
from modules.plan.work import Work


class SleepingLink:
    """Takes `step_s` for each step.

    Args:
        name: Its name.
        step_s: Seconds for a step.
        start_error: Raised by each start.
        is_on_server: Whether it runs on the server's machine.

    Attributes:
        done: The kinds of work that it has done, of plans the batches.
        gate: While it is clear, no step ends.
        on_check: Called when it is asked whether it is there.
    """

    machine = "here"

    def __init__(
        self,
        name: str,
        step_s: float = 0.002,
        start_error: Exception | None = None,
        *,
        is_on_server: bool = True,
    ) -> None:
        self.name = name
        self.step_s = step_s
        self.start_error = start_error
        self.is_on_server = is_on_server
        self.on_check: Callable[[], None] = lambda: None
        self.done: list[Any] = []
        self.starts = 0
        self.stops = 0
        self.running = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._dead = threading.Event()

    def start(self) -> WorkerFacts:
        if self.start_error is not None:
            raise self.start_error
        self.starts += 1
        self._dead.clear()
        return WorkerFacts(f"Device of {self.name}", "here", is_on_server=self.is_on_server)

    def stop(self) -> None:
        self.stops += 1

    def check(self) -> Memory:
        self.on_check()
        if self._dead.is_set():
            raise WorkerLost("it was killed")
        return Memory(1, 2)

    def kill(self) -> None:
        """End it at its next step."""
        self._dead.set()
        self.gate.set()

    def run(
        self,
        work: Work[Any],
        sink: Sink,
        cancel: CancelToken,
        on_memory: Callable[[Memory], None],
    ) -> Any:
        if not isinstance(work, Plan):
            self.done.append(type(work).__name__)
            return None
        on_memory(Memory(1, 2))
        sink(Phase("Sampling"))
        indices = range(len(work.batches)) if work.batch_indices is None else work.batch_indices
        for index in indices:
            sink(BatchStarted(index))
            if self._take_steps(work, index, sink, cancel):
                for image in work.batches[index]:
                    sink(Output("image", draw(image.seed), image.index))
                self.done.append(index)
            else:
                sink(Note(f"Batch {index + 1} of {len(work.batches)} was skipped."))
        return None

    def _take_steps(self, plan: Plan, index: int, sink: Sink, cancel: CancelToken) -> bool:
        steps = plan.request.steps
        for step in range(1, steps + 1):
            time.sleep(self.step_s)
            self.running.set()
            while not self.gate.wait(0.01) and not cancel.is_interrupted():
                if cancel.is_batch_skipped():
                    return False
            if self._dead.is_set():
                raise WorkerLost("it was killed")
            if cancel.is_interrupted():
                raise Cancelled("The job was interrupted.")
            if cancel.is_batch_skipped():
                return False
            sink(Progress(index * steps + step, len(plan.batches) * steps, 10.0))
            if cancel.wants_preview():
                sink(Preview(Image.new("RGB", (8, 8), (index, 0, 0))))
        return True


def draw(seed: int) -> Image.Image:
    """Return the image of a seed."""
    return Image.new("RGB", (8, 8), (seed % 256, seed // 256 % 256, 0))
