"""RayLink: a worker that is a Ray actor."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.core.errors import Cancelled, WebUIError
from modules.engine.executors.cluster.device_worker import DeviceWorker, WorkerOptions
from modules.engine.executors.cluster.program import ProgramFacts, check_program
from modules.engine.executors.cluster.ray_cluster import RayCluster
from modules.engine.executors.cluster.wire import (
    ErrorMessage,
    EventMessage,
    LogMessage,
    Message,
    PreviewMessage,
    Requests,
    ResultMessage,
    pack_work,
    unpack_error,
    unpack_preview,
)
from modules.engine.executors.model_files import FileFacts, FileHashes, read_part
from modules.engine.executors.worker_link import Memory, WorkerFacts, WorkerLost
from modules.params.events import CancelToken, Phase, Sink
from modules.plan.work import Work

logger = logging.getLogger(__name__)

_TICK_S = 0.1  # how long an interrupt may take to be sent
_WATCH_EVERY_S = 1.0
_ANSWER_TIMEOUT_S = 60.0
# The imports of a worker take half a minute on a busy machine, and a cloud may first have to start one.
_START_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Placement:
    """Where a worker runs.

    Args:
        name: Of the worker.
        machine: Host name, "" before it is known.
        actor: Options of its actor, such as the processors and cards that it takes. Any: Ray's own.
        node: Ray's name of the machine; "" for any.
    """

    name: str
    machine: str = ""
    actor: Mapping[str, Any] = field(default_factory=dict[str, Any])
    node: str = ""


class Transfers:
    """Sends files to other machines, each once. Shared by all links.

    Args:
        cache_folder: Keeps the hashes of the files.
        program: What runs here.
    """

    def __init__(self, cache_folder: Path, program: Callable[[], ProgramFacts]) -> None:
        self.hashes = FileHashes(cache_folder / "cluster_hashes.json")
        self._program = program
        self._facts: ProgramFacts | None = None
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def program(self) -> ProgramFacts:
        """Return what runs here."""
        with self._lock:
            if self._facts is None:
                self._facts = self._program()
            return self._facts

    def lock_of(self, machine: str, file: FileFacts) -> threading.Lock:
        """Return the lock of a file on its way to a machine."""
        with self._lock:
            return self._locks.setdefault((machine, file.sha256), threading.Lock())


class RayLink:
    """Starts an actor on one device and passes work to it.

    Args:
        cluster: Ray.
        placement: Where the actor runs.
        options: How its device is opened.
        transfers: Sends files to its machine.
    """

    def __init__(
        self,
        cluster: RayCluster,
        placement: Placement,
        options: WorkerOptions,
        transfers: Transfers,
    ) -> None:
        self._cluster = cluster
        self._placement = placement
        self._options = options
        self._transfers = transfers
        self._numbers = itertools.count(1)
        self._connection = 0
        self._actor: Any = None  # its methods are made at run time
        self._facts = WorkerFacts("", placement.machine)

    @property
    def name(self) -> str:
        """Return what names the worker among the others."""
        return self._placement.name

    @property
    def machine(self) -> str:
        """Return the host name of its machine, "" before it is known."""
        return self._facts.machine

    def start(self) -> WorkerFacts:
        """Start the actor and return once its device is open.

        Raises:
            WorkerLost: it cannot be started now.
            UserError: it runs another program, or there is no such device.
        """
        self.stop()
        self._connection = self._cluster.connect()
        with self._connected() as ray:
            make = ray.remote(**_actor_options(ray, self._placement))(DeviceWorker)
            self._actor = make.remote()
        program: ProgramFacts = self._ask("facts", timeout_s=_START_TIMEOUT_S)
        check_program(self._transfers.program, program)
        facts = self._ask("open", self._options, timeout_s=_START_TIMEOUT_S)
        if isinstance(facts, ErrorMessage):
            raise unpack_error(facts)
        self._facts = facts
        return facts

    def check(self) -> Memory:
        """Return the memory of its device.

        Raises:
            WorkerLost: it does not answer.
        """
        return self._ask("memory")

    def stop(self) -> None:
        """End the actor, if it runs."""
        actor, self._actor = self._actor, None
        if actor is None:
            return
        try:
            with self._cluster.using(self._connection) as ray:
                ray.kill(actor)
        except Exception:  # it has ended, or its cluster has
            logger.debug("The worker %s could not be ended.", self.name, exc_info=True)

    def run(
        self,
        work: Work[Any],
        sink: Sink,
        cancel: CancelToken,
        on_memory: Callable[[Memory], None],
    ) -> Any:
        """Do some work and return its result."""
        packed, paths = pack_work(work)
        files = () if self._facts.is_on_server else self._send_files(paths, sink, cancel)
        run = _Run(next(self._numbers), sink, cancel, on_memory, self.name)
        with self._connected():
            method = self._actor.run.options(num_returns="streaming")
            stream = method.remote(run.number, packed, files)
        answered_at = time.monotonic()
        while True:
            messages = self._next_messages(stream)
            if (requests := run.next_requests()) is not None:
                with self._connected():
                    self._actor.signal.remote(run.number, requests)
            if messages:
                answered_at = time.monotonic()
                if run.receive(messages):
                    return run.result
            elif time.monotonic() - answered_at > _ANSWER_TIMEOUT_S:
                raise WorkerLost(f"it has not answered for {_ANSWER_TIMEOUT_S:.0f} seconds")

    def _next_messages(self, stream: Any) -> list[Message]:
        """Return the next messages of a run; none if there are none for a moment."""
        with self._connected() as ray:
            if not ray.wait([stream], timeout=_TICK_S)[0]:
                return []
            reference = next(stream, None)
            if reference is None:
                raise WorkerLost("its work ended without a result")
            return ray.get(reference, timeout=_ANSWER_TIMEOUT_S)

    def _ask(self, method: str, *args: Any, timeout_s: float = _ANSWER_TIMEOUT_S) -> Any:
        """Return the answer of a method of the worker; looks in between whether the cluster is still there.

        Raises:
            WorkerLost: there is none.
        """
        with self._connected():
            reference = getattr(self._actor, method).remote(*args)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._connected() as ray:
                if ray.wait([reference], timeout=1.0)[0]:
                    return ray.get(reference)
        raise WorkerLost(f"it has not answered for {timeout_s:.0f} seconds")

    @contextlib.contextmanager
    def _connected(self) -> Generator[Any]:
        """Hold the connection for a call, and raise its errors as those of the pool."""
        with self._cluster.using(self._connection) as ray:
            try:
                yield ray
            except WorkerLost:
                raise
            except ray.exceptions.RayTaskError as error:
                logger.warning("The worker %s failed: %s", self.name, error)
                raise WebUIError(
                    f"The worker {self.name} failed: {_last_line(error)}.",
                    "The log has the details.",
                ) from None
            except Exception as error:
                logger.debug("The worker %s was lost.", self.name, exc_info=True)
                raise WorkerLost(_reason(ray, error)) from None

    def _send_files(
        self, paths: Sequence[Path], sink: Sink, cancel: CancelToken
    ) -> Sequence[FileFacts]:
        """Send the files that the machine of the worker lacks and return the facts of all of them."""
        files = [self._transfers.hashes.facts(path) for path in paths]
        missing: list[FileFacts] = self._ask("missing_files", files, timeout_s=_START_TIMEOUT_S)
        for file in missing:
            with self._transfers.lock_of(self.machine, file):
                if not self._ask("missing_files", [file]):
                    continue  # another worker of that machine has got it meanwhile
                sink(Phase(f"Sending {Path(file.path).name} to {self.machine}"))
                self._send(file, cancel)
        return files

    def _send(self, file: FileFacts, cancel: CancelToken) -> None:
        offset = 0
        while True:
            if cancel.is_interrupted():
                raise Cancelled("The job was interrupted.")
            data = read_part(file, offset)
            # After the last part the worker computes the hash of all of them, which takes a minute of a slow disk.
            error = self._ask("receive_file", file, offset, data, timeout_s=_START_TIMEOUT_S)
            if error is not None:
                raise unpack_error(error)
            offset += len(data)
            if offset >= file.size_bytes:
                return


class _Run:
    """One run of a worker: its messages in, the requests out."""

    def __init__(
        self,
        number: int,
        sink: Sink,
        cancel: CancelToken,
        on_memory: Callable[[Memory], None],
        worker: str,
    ) -> None:
        self.number = number
        self.result: Any = None
        self._sink = sink
        self._cancel = cancel
        self._on_memory = on_memory
        self._worker = worker
        self._sent: Requests | None = None
        self._sent_at = float("-inf")

    def next_requests(self) -> Requests | None:
        """Return what is to be sent now: what has changed, and once a second what still counts; None for nothing."""
        requests = Requests.of(self._cancel)
        is_new = requests != self._sent and (requests.are_any or self._sent is not None)
        is_due = requests.are_any and time.monotonic() - self._sent_at > _WATCH_EVERY_S
        if not (is_new or is_due):
            return None
        is_skip = requests.skip and not (self._sent is not None and self._sent.skip)
        self._sent, self._sent_at = requests, time.monotonic()
        return Requests(requests.interrupt, is_skip, requests.watch, requests.unfinished)

    def receive(self, messages: Sequence[Message]) -> bool:
        """Pass messages on and return whether the last one was the end.

        Raises:
            WebUIError: the work failed.
        """
        for message in messages:
            match message:
                case EventMessage(event):
                    self._sink(event)
                case PreviewMessage():
                    self._sink(unpack_preview(message))
                case Memory():
                    self._on_memory(message)
                case LogMessage(level, text):
                    logger.log(level, "The worker %s: %s", self._worker, text)
                case ErrorMessage():
                    raise unpack_error(message)
                case ResultMessage(result):
                    self.result = result
                    return True
        return False


def _actor_options(ray: Any, placement: Placement) -> dict[str, Any]:
    options = {"max_concurrency": 4, "max_restarts": 0, **placement.actor}
    if placement.node:
        strategies = ray.util.scheduling_strategies
        options["scheduling_strategy"] = strategies.NodeAffinitySchedulingStrategy(
            placement.node, soft=False
        )
    return options


def _reason(ray: Any, error: BaseException) -> str:
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "its machine ran out of memory"
    if isinstance(error, ray.exceptions.ActorUnschedulableError):
        return "its machine is not in the cluster"
    if isinstance(error, ray.exceptions.RayActorError):
        text = str(error)
        if (
            "node" in text
            and ("died" in text or "dead" in text)
            and "worker process has died" not in text
        ):
            return "its machine left the cluster"
        return "its process ended, such as by a lack of memory or a kill"
    return _last_line(error)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300].rstrip(".")
