"""An executor without torch: one thread that fakes sampling steps and returns single-colour images."""

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
DEVICE_INFO = DeviceInfo("Test device", "")


class FakeExecutor:
    """Runs plans one after another; each image has one colour, derived from its seed.

    Args:
        device_info: Passed to `on_ready`; None for a device that cannot be opened.
    """

    def __init__(self, device_info: DeviceInfo | None = DEVICE_INFO) -> None:
        self.loaded: list[str] = []
        self.seen: list[str] = []
        self.results: dict[type, Any] = {}  # by type of work
        self.failures: list[Exception] = []
        self.load_failures: list[Exception] = []
        self.held = threading.Event()
        self._device_info = device_info
        self._hold_step = 0
        self._releases_at_stop = False
        self._gate = threading.Event()
        self._gate.set()
        self._items: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="fake device", daemon=True)

    # Executor

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        self._items.put(
            lambda: on_ready(self._device_info, "" if self._device_info else "No device here.")
        )
        self._thread.start()

    def run(self, plan: Plan, listener: Listener) -> Future[None]:
        return self._put(lambda: self._run_plan(plan, listener))

    def load(self, work: LoadCheckpoint) -> Future[None]:
        return self._put(lambda: self._load(work))

    def submit_work(self, work: Work) -> Future[Any]:
        return self._put(lambda: self.results[type(work)])

    def unload(self) -> Future[None]:
        return self._put(self.loaded.clear)

    def memory(self) -> dict[str, Any]:
        return {"error": "There is no device."}

    def stop(self, timeout_s: float) -> bool:
        self._items.put(None)
        if self._releases_at_stop:
            self.release()
            timeout_s = (
                PATIENCE_S  # it is sure to end, but on a busy machine not within the given timeout
            )
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # For tests

    def hold_at(self, step: int) -> None:
        """Block before this step of every job until `release`; `held` is set while it blocks."""
        self._hold_step = step
        self.held.clear()
        self._gate.clear()

    def hold_at_next(self, step: int) -> None:
        """Continue, and block before this step of the next batch or job."""
        old_gate, self._gate = self._gate, threading.Event()
        self._hold_step = step
        self.held.clear()
        old_gate.set()

    def release(self) -> None:
        """Continue and block no more."""
        self._hold_step = 0
        self._gate.set()

    def release_at_stop(self) -> None:
        """Release when `stop` is called: by then the engine has interrupted its jobs."""
        self._releases_at_stop = True

    def wait_until_idle(self) -> None:
        """Return when all queued work is done, including the work that it queued."""
        for _ in range(3):
            done = threading.Event()
            self._items.put(done.set)
            assert done.wait(PATIENCE_S)

    # Executor thread

    def _put(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._items.put(lambda: _run_work(future, work))
        return future

    def _serve(self) -> None:
        while (item := self._items.get()) is not None:
            item()

    def _load(self, work: LoadCheckpoint) -> None:
        if self.load_failures:
            raise self.load_failures.pop(0)
        self.loaded.append(work.checkpoint.name)

    def _run_plan(self, plan: Plan, listener: Listener) -> None:
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
                listener.on_image(image.index, _make_image(plan, image))

    def _pause(self, step: int) -> None:
        if step == self._hold_step:
            self.held.set()
            assert self._gate.wait(PATIENCE_S)


def _make_image(plan: Plan, image: ImagePlan) -> Image.Image:
    size = plan.request.width, plan.request.height
    return Image.new("RGB", size, (image.seed % 256, image.seed // 256 % 256, 0))


def _run_work(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - like the real executor, it survives every error
        future.set_exception(error)
    else:
        future.set_result(result)
