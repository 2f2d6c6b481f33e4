"""DeviceWorker: what runs in the process of a worker. Ray makes an actor of it; it knows nothing of Ray."""

from __future__ import annotations

import logging
import os
import platform
import queue
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.errors import WebUIError
from modules.engine.executors import DeviceInfo
from modules.engine.executors.cluster.program import ProgramFacts, machine_id, program_facts
from modules.engine.executors.cluster.wire import (
    ErrorMessage,
    EventMessage,
    LogMessage,
    Message,
    Requests,
    ResultMessage,
    pack_error,
    pack_event,
    unpack_work,
)
from modules.engine.executors.local import LocalExecutor
from modules.engine.executors.model_files import FileFacts, ModelFileCache
from modules.engine.executors.work_facts import device_memory
from modules.engine.executors.worker_link import Memory, WorkerFacts
from modules.launch.environment import set_env_defaults
from modules.params.device_options import DeviceOptions
from modules.params.events import BatchStarted, CancelToken, Event, Output, Progress
from modules.prompt.tokens import ClipTokenizer

ROOT = Path(__file__).resolve().parents[4]
# Messages of the same moment travel together: each journey costs both processes some milliseconds.
_GATHER_S = 0.1
_MEMORY_EVERY_S = 2.0


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker is set up.

    Args:
        device: Which device it uses.
        prepare: Called before the first work, such as to load extensions; None for nothing.
        server: What `machine_id` says on the server's machine.
        cache_folder: The server's cache; a worker of another machine has its own.
    """

    device: DeviceOptions
    prepare: Callable[[], object] | None = None
    server: str = ""
    cache_folder: Path | None = None


class DeviceWorker:
    """Runs work on one device in this process. `run` is called by one thread, the others from any."""

    def __init__(self) -> None:
        self._executor: LocalExecutor | None = None
        self._running = (0, CancelToken())  # number of the run, and what interrupts it
        self._files = ModelFileCache(ROOT / "cache" / "cluster")

    def facts(self) -> ProgramFacts:
        """Return which program this is; only a worker of the same one is opened."""
        return program_facts(ROOT)

    def open(self, options: WorkerOptions) -> WorkerFacts | ErrorMessage:
        """Open the device and return its facts, or why it cannot be opened."""
        set_env_defaults(os.environ)
        is_on_server = options.server == machine_id(ROOT)
        cache = options.cache_folder if is_on_server else ROOT / "cache"
        tokenizer = ClipTokenizer(ROOT / "configs" / "clip" / "bpe_simple_vocab_16e6.txt.gz")
        ready: Future[tuple[DeviceInfo | None, str]] = Future()
        executor = LocalExecutor(options.device, tokenizer, cache)
        try:
            if options.prepare is not None and is_on_server:
                options.prepare()
            executor.start(lambda info, failure: ready.set_result((info, failure)))
            info, failure = ready.result()
        except Exception as error:  # noqa: BLE001  the server reports it
            return pack_error(error)
        if info is None:
            return ErrorMessage("WebUIError", failure, "")
        self._executor = executor
        return WorkerFacts(info.label, platform.node(), info.warning, is_on_server)

    def memory(self) -> Memory:
        """Return the memory of the device."""
        stats = {} if self._executor is None else self._executor.memory()
        return Memory(*device_memory(stats))

    def process_id(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    # Files of other machines

    def missing_files(self, files: Sequence[FileFacts]) -> list[FileFacts]:
        """Return those of the server's files that are not on this machine."""
        return self._files.missing(files)

    def receive_file(self, file: FileFacts, offset: int, data: bytes) -> ErrorMessage | None:
        """Write a part of a file that is missing; return why it cannot be written."""
        try:
            self._files.receive(file, offset, data)
        except WebUIError as error:
            return pack_error(error)
        return None

    # Work

    def signal(self, number: int, requests: Requests) -> None:
        """Pass requests on to a run, if it is the one that runs."""
        running, cancel = self._running
        if number == running:
            requests.pass_on(cancel)

    def run(
        self, number: int, packed: bytes, files: Sequence[FileFacts] = ()
    ) -> Generator[list[Message], None, None]:
        """Do some work and yield its messages as they come, several at a time; the last one is its end.

        Args:
            number: Of the run, for `signal`.
            packed: The work.
            files: Files of the server that it names, where this is another machine.
        """
        messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        log = _LogSender(messages)
        logging.getLogger().addHandler(log)
        cancel = CancelToken()
        self._running = number, cancel
        try:
            self._begin(packed, files, messages, cancel)
            yield from self._gather(messages)
        finally:
            logging.getLogger().removeHandler(log)

    def _begin(
        self,
        packed: bytes,
        files: Sequence[FileFacts],
        messages: queue.SimpleQueue[Message],
        cancel: CancelToken,
    ) -> None:
        def receive(event: Event) -> None:
            if isinstance(event, BatchStarted):
                cancel.end_skip()
            messages.put(pack_event(event))

        def end(future: Future[Any]) -> None:
            error = future.exception()
            messages.put(ResultMessage(future.result()) if error is None else pack_error(error))

        assert self._executor is not None, "opened before"
        try:
            work = unpack_work(packed, self._files.places(files))
        except Exception as error:  # noqa: BLE001  such as an extension that only the server has
            messages.put(pack_error(error))
            return
        self._executor.submit(work, receive, cancel).add_done_callback(end)

    def _gather(self, messages: queue.SimpleQueue[Message]) -> Generator[list[Message], None, None]:
        measured_at = float("-inf")
        is_over = False
        while not is_over:
            gathered = _next_messages(messages)
            is_over = bool(gathered) and isinstance(gathered[-1], ErrorMessage | ResultMessage)
            if is_over or time.monotonic() - measured_at > _MEMORY_EVERY_S:
                measured_at = time.monotonic()
                gathered.insert(0, self.memory())
            if gathered:
                yield gathered


def _next_messages(messages: queue.SimpleQueue[Message]) -> list[Message]:
    """Return the messages of a moment, which ends with an output: of progress only the latest; none if none has come for a while."""
    gathered: list[Message] = []
    deadline = time.monotonic() + _MEMORY_EVERY_S
    while not (gathered and _ends_moment(gathered[-1])):
        try:
            message = messages.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if not gathered:
            deadline = time.monotonic() + _GATHER_S
        elif _is_progress(message) and _is_progress(gathered[-1]):
            gathered.pop()
        gathered.append(message)
    return gathered


def _ends_moment(message: Message) -> bool:
    is_output = isinstance(message, EventMessage) and isinstance(message.event, Output)
    return is_output or isinstance(message, ErrorMessage | ResultMessage)


def _is_progress(message: Message) -> bool:
    return isinstance(message, EventMessage) and isinstance(message.event, Progress)


class _LogSender(logging.Handler):
    """Sends what is logged while work runs to the server, whose log the user reads."""

    def __init__(self, messages: queue.SimpleQueue[Message]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.put(LogMessage(record.levelno, self.format(record)))
