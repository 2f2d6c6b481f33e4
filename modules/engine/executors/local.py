"""Runs work on one device of this process, in one thread."""

from __future__ import annotations

import logging
import platform
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from modules.core.errors import UserError, WebUIError, internal_error
from modules.engine.executors import DeviceInfo, WorkerStatus
from modules.engine.executors.work_facts import checkpoint_after, device_memory, following
from modules.params.device_options import DeviceOptions
from modules.params.events import CancelToken, Sink, ignore_events
from modules.plan.work import Work
from modules.prompt.tokens import ClipTokenizer

if TYPE_CHECKING:
    from modules.backend.handlers import Handler
    from modules.backend.runner import Runner

R = TypeVar("R")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Item:
    future: Future[Any]  # carries the result of `work`
    work: Work[Any]
    sink: Sink
    cancel: CancelToken | None
    job_id: str


class LocalExecutor:
    """Imports the backend in a separate thread, then runs work items one at a time.

    Args:
        device: Which device to use.
        tokenizer: Splits prompts.
        cache_folder: Keeps what was measured about checkpoints; None keeps nothing for the next start.
        handlers: Functions for further kinds of work, in addition to those of `backend/handlers`.
    """

    slots = 1

    def __init__(
        self,
        device: DeviceOptions,
        tokenizer: ClipTokenizer,
        cache_folder: Path | None = None,
        handlers: Mapping[type, Handler] = MappingProxyType({}),
    ) -> None:
        self._device = device
        self._tokenizer = tokenizer
        self._cache_folder = cache_folder
        self._handlers = handlers
        self._items: queue.Queue[_Item | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._memory: Callable[[], dict[str, Any]] = lambda: {"error": "The device is not open."}
        self._status = WorkerStatus("device", platform.node())

    def start(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        """Open the device in the background."""
        # A daemon: a step that takes minutes must not delay the exit of the program.
        thread = threading.Thread(target=self._serve, args=(on_ready,), name="device", daemon=True)
        thread.start()
        self._thread = thread  # only now: Ctrl-C may come at any moment, and `stop` joins it

    def submit(
        self,
        work: Work[R],
        sink: Sink = ignore_events,
        cancel: CancelToken | None = None,
        job_id: str = "",
    ) -> Future[R]:
        """Queue some work."""
        future: Future[R] = Future()
        self._items.put(_Item(future, work, sink, cancel, job_id))
        return future

    def memory(self) -> dict[str, Any]:
        """Return the device's memory in bytes; callable from any thread."""
        return self._memory()

    def workers(self) -> Sequence[WorkerStatus]:
        """Return the status of the device."""
        status = self._status
        if status.state == "starting" or status.reason:
            return (status,)
        used, total = device_memory(self._memory())
        return (replace(status, memory_used=used, memory_total=total),)

    def stop(self, timeout_s: float) -> bool:
        """Accept no more work and return whether the running work ended in time."""
        self._items.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> None:
        runner = self._open(on_ready)
        while (item := self._items.get()) is not None:
            if not item.future.set_running_or_notify_cancel():
                continue
            if runner is None:
                item.future.set_exception(WebUIError(self._failure))
                continue
            self._run_item(item, runner)

    def _open(self, on_ready: Callable[[DeviceInfo | None, str], None]) -> Runner | None:
        runner: Runner | None = None
        try:
            from modules.backend.handlers import HANDLERS
            from modules.backend.runner import Runner

            handlers = {**HANDLERS, **self._handlers}
            runner = Runner(self._device, self._tokenizer, self._cache_folder, handlers)
        except UserError as error:  # the user has named a device that there is not
            self._failure = str(error)
        except Exception as error:
            logger.exception("The device could not be opened.")
            self._failure = f"The device could not be opened: {error}. The log has the details; ./webui.sh repairs the installation."
        if runner is None:
            self._status = replace(self._status, state="refused", reason=self._failure)
            _report(on_ready, None, self._failure)
            return None
        self._memory = runner.memory
        self._status = replace(self._status, device=runner.device.label, state="idle")
        _report(on_ready, DeviceInfo(runner.device.label, runner.device.warning), "")
        return runner

    def _run_item(self, item: _Item, runner: Runner) -> None:
        checkpoint = checkpoint_after(item.work, self._status.checkpoint)
        self._status = replace(
            self._status, state="busy", job_id=item.job_id, checkpoint=checkpoint
        )
        try:
            _run(replace(item, sink=following(item.sink, self._set_activity)), runner, self._rest)
        finally:
            self._rest()

    def _set_activity(self, text: str) -> None:
        self._status = replace(self._status, activity=text)

    def _rest(self) -> None:
        self._status = replace(self._status, state="idle", job_id="", activity="")


def _report(
    on_ready: Callable[[DeviceInfo | None, str], None], info: DeviceInfo | None, failure: str
) -> None:
    """Report whether the device is open; an error of the listener does not end the device's thread."""
    try:
        on_ready(info, failure)
    except Exception:
        logger.exception("An unexpected error after the device was opened.")


def _run(item: _Item, runner: Runner, on_end: Callable[[], None]) -> None:
    """Do some work; `on_end` is called before its future is resolved."""
    try:
        result = runner.run(item.work, item.sink, item.cancel)
    except WebUIError as error:
        # The job is kept in memory with its error; a traceback would keep the frames alive, and with them the weights.
        error.__context__ = error.__cause__ = None
        on_end()
        item.future.set_exception(error.with_traceback(None))
    except BaseException as error:  # the thread goes on, even if an extension ends the program
        logger.exception("A job failed with an unexpected error.")
        on_end()
        item.future.set_exception(internal_error(error))
    else:
        on_end()
        item.future.set_result(result)
