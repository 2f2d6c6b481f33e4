"""An executor without torch: threads that fake sampling steps and return single-colour images."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from PIL import Image

from modules.core.errors import Cancelled
from modules.engine.engine import Engine
from modules.engine.executors import DeviceInfo, WorkerStatus
from modules.images.upscale import enlarge_by_filter, upscale_by
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Output,
    Phase,
    Preview,
    Progress,
    Sink,
    ignore_events,
)
from modules.params.results import Recording
from modules.plan.jobs.extras import ExtrasPlan
from modules.plan.plan import ImagePlan, Plan
from modules.plan.work import LoadModel, UnloadModels, Work

R = TypeVar("R")
PATIENCE_S = 30
DEVICE_INFO = DeviceInfo("Test device", "")


class FakeExecutor:
    """Runs plans in order; each image has one colour, derived from its seed.

    Args:
        device_info: Passed to `on_ready`; None for a device that cannot be opened.
        slots: The number of plans that run at once.
    """

    def __init__(self, device_info: DeviceInfo | None = DEVICE_INFO, slots: int = 1) -> None:
        self.slots = slots
        self.loaded: list[str] = []
        self.seen: list[str] = []
        self.last_plan: Plan | None = None  # with its input images
        self.results: dict[type, Any] = {}  # by type of work
        self.recording: Recording | None = None  # what a recorded plan records
        self.worker_list = [
            WorkerStatus(str(number), "here", "Test device", "idle" if device_info else "refused")
            for number in range(slots)
        ]
        self.failures: list[Exception] = []
        self.load_failures: list[Exception] = []
        self.held = threading.Event()
        self._device_info = device_info
        self._hold_step = 0
        self._releases_at_stop = False
        self._gate = threading.Event()
        self._gate.set()
        self._items: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._changed = threading.Condition()
        self._unfinished_count = 0
        self._held_count = 0
        self._threads = [
            threading.Thread(target=self._serve, name="fake device", daemon=True)
            for _ in range(slots)
        ]
        self._handlers: dict[type, Callable[[Any, Sink, CancelToken], Any]] = {
            Plan: self._draw,
            LoadModel: self._load,
            UnloadModels: self._unload,
            ExtrasPlan: _process,
        }

    # Executor

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        self._put(
            lambda: on_ready(self._device_info, "" if self._device_info else "No device here.")
        )
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        work: Work[R],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[R]:
        future: Future[R] = Future()
        do = self._handlers.get(type(work), self._answer)
        self._put(lambda: _run_work(future, lambda: do(work, sink, cancel or CancelToken())))
        return future

    def memory(self) -> dict[str, Any]:
        return {"error": "There is no device."}

    def workers(self) -> Sequence[WorkerStatus]:
        return self.worker_list

    def stop(self, timeout_s: float) -> bool:
        for _ in self._threads:
            self._items.put(None)
        if self._releases_at_stop:
            self.release()
            timeout_s = (
                PATIENCE_S  # it is sure to end, but on a busy machine not within the given timeout
            )
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

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
        with self._changed:
            assert self._changed.wait_for(lambda: self._unfinished_count == 0, PATIENCE_S)

    def wait_until_held(self, count: int) -> None:
        """Return when so many jobs block at once."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held_count == count, PATIENCE_S)

    # Executor threads

    def _put(self, item: Callable[[], None]) -> None:
        with self._changed:
            self._unfinished_count += 1
        self._items.put(item)

    def _serve(self) -> None:
        while (item := self._items.get()) is not None:
            item()
            with self._changed:
                self._unfinished_count -= 1
                self._changed.notify_all()

    def _answer(self, work: Work[Any], sink: Sink, cancel: CancelToken) -> Any:
        return self.results[type(work)]

    def _load(self, work: LoadModel, sink: Sink, cancel: CancelToken) -> None:
        if self.load_failures:
            raise self.load_failures.pop(0)
        self.loaded.append(work.model.checkpoint.name)

    def _unload(self, work: UnloadModels, sink: Sink, cancel: CancelToken) -> None:
        self.loaded.clear()

    def _draw(self, plan: Plan, sink: Sink, cancel: CancelToken) -> None:
        self.last_plan = plan
        sink(Phase("Sampling"))
        self.seen.append(plan.request.prompt)
        if self.failures:
            raise self.failures.pop(0)
        _report_maps(plan, sink)
        steps = plan.request.steps
        for number, batch in enumerate(plan.batches):
            sink(BatchStarted(number))
            for step in range(1, steps + 1):
                self._pause(step)
                _report_unfinished(plan, number, sink, cancel)
                if cancel.is_interrupted():
                    raise Cancelled("The job was interrupted.")
                if cancel.is_batch_skipped():
                    break
                sink(Progress(number * steps + step, len(plan.batches) * steps, 10.0))
                if cancel.wants_preview():
                    sink(Preview(Image.new("RGB", (8, 8), "red")))
            for image in () if cancel.is_batch_skipped() else batch:
                sink(Output("image", _make_image(plan, image), image.index))
        if plan.record and self.recording is not None:
            sink(Output("recording", self.recording))

    def _pause(self, step: int) -> None:
        if step == self._hold_step:
            gate = self._gate
            self._count_held(1)
            self.held.set()
            assert gate.wait(PATIENCE_S)
            self._count_held(-1)

    def _count_held(self, change: int) -> None:
        with self._changed:
            self._held_count += change
            self._changed.notify_all()


def _report_maps(plan: Plan, sink: Sink) -> None:
    for one in plan.control:
        if one.unit.image is not None and one.unit.save_detected_map:
            sink(Output("control map", one.unit.image.to_pil(), one.index))
    if plan.request.task == "depth2img":
        sink(Output("depth map", Image.linear_gradient("L")))


def _report_unfinished(plan: Plan, batch_index: int, sink: Sink, cancel: CancelToken) -> None:
    is_stopped = cancel.is_interrupted() or cancel.is_batch_skipped()
    if batch_index == 0 and is_stopped and cancel.wants_unfinished():
        sink(Output("unfinished image", _make_image(plan, plan.images[0])))


def _process(plan: ExtrasPlan, sink: Sink, cancel: CancelToken) -> None:
    """Enlarge an image by a filter, as the backend does."""
    sink(Phase("Upscaling"))
    image, enlargement = plan.request.image.to_pil(), plan.enlargement
    for planned in () if enlargement is None else enlargement.upscalers:
        image = upscale_by(image, enlargement.scale, enlarge_by_filter(planned.upscaler.method))
    if cancel.is_interrupted():
        raise Cancelled("The job was interrupted.")
    sink(Output("image", image))


def record(recording: Recording, engine: Engine) -> None:
    """Let the device of an engine return this recording of each job that is recorded."""
    assert isinstance(engine.executor, FakeExecutor)
    engine.executor.recording = recording


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
