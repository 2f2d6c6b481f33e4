"""An executor without torch: one thread that draws plain pictures step by step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from PIL import Image

from modules.core.errors import Cancelled
from modules.engine.executors import DeviceInfo, LoadCheckpoint
from modules.params.events import Listener, Progress
from modules.plan.plan import ImagePlan, Plan
from modules.plan.work import Work

PATIENCE_S = 30
READY = DeviceInfo("Test device", "")


class FakeExecutor:
    """Carries out plans one after another; each picture is one colour, taken from its seed.

    Args:
        facts: What `on_ready` is told; None for a device that cannot be opened.
    """

    def __init__(self, facts: DeviceInfo | None = READY) -> None:
        self.loaded: list[str] = []
        self.seen: list[str] = []
        self.answers: dict[type, Any] = {}  # by the kind of question
        self.failures: list[Exception] = []
        self.load_failures: list[Exception] = []
        self.held = threading.Event()
        self._facts = facts
        self._hold_step = 0
        self._goes_on_at_stop = False
        self._gate = threading.Event()
        self._gate.set()
        self._items: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="fake device", daemon=True)

    # Executor

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        self._items.put(lambda: on_ready(self._facts, "" if self._facts else "No device here."))
        self._thread.start()

    def run(self, plan: Plan, listener: Listener) -> Future[None]:
        return self._put(lambda: self._draw(plan, listener))

    def load(self, work: LoadCheckpoint) -> Future[None]:
        return self._put(lambda: self._load(work))

    def submit_work(self, work: Work) -> Future[Any]:
        return self._put(lambda: self.answers[type(work)])

    def unload(self) -> Future[None]:
        return self._put(self.loaded.clear)

    def memory(self) -> dict[str, Any]:
        return {"error": "There is no device."}

    def stop(self, timeout_s: float) -> bool:
        self._items.put(None)
        if self._goes_on_at_stop:
            self.release()
            timeout_s = (
                PATIENCE_S  # it ends for sure, on a machine under load not within the moment given
            )
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # For tests

    def hold_at(self, step: int) -> None:
        """Stand still before that step of every job until `release`; `held` tells when it does."""
        self._hold_step = step
        self.held.clear()
        self._gate.clear()

    def hold_at_next(self, step: int) -> None:
        """Go on from where it stands, and stand still when that step comes again."""
        passing, self._gate = self._gate, threading.Event()
        self._hold_step = step
        self.held.clear()
        passing.set()

    def release(self) -> None:
        """Go on, and hold no more."""
        self._hold_step = 0
        self._gate.set()

    def release_at_stop(self) -> None:
        """Go on when it is told to stop: by then the engine has told its jobs."""
        self._goes_on_at_stop = True

    def wait_until_idle(self) -> None:
        """Return when all that was put in so far is done, and what that put in, too."""
        for _ in range(3):
            done = threading.Event()
            self._items.put(done.set)
            assert done.wait(PATIENCE_S)

    # Its thread

    def _put(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._items.put(lambda: _carry_out(future, work))
        return future

    def _serve(self) -> None:
        while (item := self._items.get()) is not None:
            item()

    def _load(self, work: LoadCheckpoint) -> None:
        if self.load_failures:
            raise self.load_failures.pop(0)
        self.loaded.append(work.checkpoint.name)

    def _draw(self, plan: Plan, listener: Listener) -> None:
        listener.on_phase("Sampling")
        self.seen.append(plan.request.prompt)
        if self.failures:
            raise self.failures.pop(0)
        if plan.request.task == "depth2img":
            listener.on_depth_map(Image.linear_gradient("L"))
        steps = plan.request.steps
        for number, batch in enumerate(plan.batches):
            listener.on_batch(number)
            for step in range(1, steps + 1):
                self._pause(step)
                if listener.is_interrupted():
                    raise Cancelled("The job was interrupted.")
                if listener.is_skipped():
                    break
                listener.on_progress(
                    Progress(number * steps + step, len(plan.batches) * steps, 10.0)
                )
                if listener.wants_preview():
                    listener.on_preview(Image.new("RGB", (8, 8), "red"))
            for image in () if listener.is_skipped() else batch:
                listener.on_image(image.index, _picture(plan, image))

    def _pause(self, step: int) -> None:
        if step == self._hold_step:
            self.held.set()
            assert self._gate.wait(PATIENCE_S)


def _picture(plan: Plan, image: ImagePlan) -> Image.Image:
    size = plan.request.width, plan.request.height
    return Image.new("RGB", size, (image.seed % 256, image.seed // 256 % 256, 0))


def _carry_out(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        answer = work()
    except Exception as error:  # noqa: BLE001 - as the real executor, it outlives every failure
        future.set_exception(error)
    else:
        future.set_result(answer)
