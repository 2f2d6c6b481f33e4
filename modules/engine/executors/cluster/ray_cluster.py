"""RayCluster: the connection of this process to Ray, one that it starts on this machine or one that runs."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from modules.core.private import is_own_folder
from modules.engine.executors.worker_link import WorkerLost

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 5.0
_OBJECT_STORE_BYTES = 512 * 2**20  # pictures and previews on their way
_FOLDER = "webui-ray-"
_SIGACTION_BYTES = 512  # more than `struct sigaction` takes on any system
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A call on a connection that was lost must fail, not start another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray ends the process that has lost its cluster after a minute; this one serves the page and waits.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "100000000",
    # A worker chooses its card by number; Ray would hide all of them from one that asks for none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Args:
        id: Ray's name of it.
        machine: Its host name.
        cpus: Processors that Ray gives to workers.
        gpus: Cards.
    """

    id: str
    machine: str
    cpus: int
    gpus: int


class RayCluster:
    """Connects to Ray when it is needed, and again when it went away. Thread-safe; a connection has a number.

    Args:
        address: Of a running cluster, or "auto" for the one of this machine; "" starts Ray on this machine.
        cpus: How many processors a Ray that is started gives to workers.
    """

    def __init__(self, address: str = "", cpus: int = 1) -> None:
        self.address = address
        self._cpus = cpus
        self._lock = threading.Condition()
        self._number = 0  # of the connection
        self._users = 0  # threads that use it right now
        # The processes of a Ray that is started end with the thread that started them (PR_SET_PDEATHSIG), so that none
        # stays when the server is killed: this thread lives as long as they are wanted.
        self._starter = ThreadPoolExecutor(1, "ray start")
        self._ray: Any = None
        self._is_connected = False
        self._is_closed = False
        self._head: tuple[str, int] | None = None  # where the head of the cluster listens
        self._socket = ""  # where the Ray of this machine does
        self._folder = ""
        self._checked = (float("-inf"), "")  # when it was looked at last, and what was wrong

    def connect(self) -> int:
        """Connect unless that is done, and return the number of the connection.

        Raises:
            WorkerLost: there is no cluster.
        """
        with self._lock:
            if self._is_closed:
                raise WorkerLost("the server is stopping")
            if self._is_connected and (problem := self._problem()):
                logger.warning("%s.", problem)
                self._disconnect()
            if not self._is_connected:
                self._starter.submit(self._connect).result()
            return self._number

    @contextlib.contextmanager
    def using(self, number: int) -> Generator[Any]:
        """Hold a connection for a short call; yields the module `ray`. Any: without Ray there is no type.

        Args:
            number: Of the connection.

        Raises:
            WorkerLost: it is no longer there; what Ray raises about it otherwise is left to the caller.
        """
        with self._lock:
            at, problem = self._checked
            if time.monotonic() - at > 1:
                problem = self._problem()
                self._checked = time.monotonic(), problem
            if number != self._number or not self._is_connected:
                problem = f"{self._name} was started again"
            if problem:
                raise WorkerLost(problem)
            self._users += 1
        try:
            yield self._ray
        finally:
            with self._lock:
                self._users -= 1
                self._lock.notify_all()

    def nodes(self) -> list[Node]:
        """Return the machines of the cluster.

        Raises:
            WorkerLost: there is no cluster.
        """
        with self.using(self.connect()) as ray:
            return [_node(entry) for entry in ray.nodes() if entry["Alive"]]

    def close(self) -> None:
        """End what was started, and connect no more; what is being started ends with this process."""
        self._is_closed = True
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            try:
                if self._is_connected:
                    with contextlib.suppress(WorkerLost):
                        self._disconnect()
            finally:
                self._lock.release()
        self._starter.shutdown(wait=False)

    def _connect(self) -> None:
        if self.address:
            self._raise_if_silent()
        _set_environment(os.environ, starts=not self.address)
        try:
            self._ray = ray = importlib.import_module("ray")
        except ImportError as error:
            raise WorkerLost(
                f"Ray is not installed ({error}); start with ./webui.sh, which installs it"
            ) from None
        logging.getLogger("ray").setLevel(logging.ERROR)
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self.address:
            options["address"] = self.address
        else:
            _remove_leftovers(Path(tempfile.gettempdir()))
            self._folder = tempfile.mkdtemp(
                prefix=f"{_FOLDER}{os.getpid()}-"
            )  # paths must be short
            options |= {
                "num_cpus": self._cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": self._folder,
            }
        logger.info("%s %s.", "Connecting to" if self.address else "Starting", self._name)
        try:
            with _kept_signal_handler(signal.SIGTERM):
                context = ray.init(**options)
        except Exception as error:
            logger.debug("Ray failed.", exc_info=True)
            with contextlib.suppress(Exception):
                ray.shutdown()
            self._remove_folder()
            raise WorkerLost(f"{self._name} cannot be used: {_first_line(error)}") from None
        self._head = _host_port(context.address_info["gcs_address"])
        self._socket = context.address_info["raylet_socket_name"]
        self._checked = time.monotonic(), ""
        self._number += 1
        self._is_connected = True

    def _disconnect(self) -> None:
        """Leave Ray once no thread is in a call, which would end the process; the caller holds the lock.

        Raises:
            WorkerLost: one still is.
        """
        self._number += 1
        if not self._lock.wait_for(lambda: not self._users, _CLOSE_TIMEOUT_S):
            raise WorkerLost(f"{self._name} went away in the middle of a call")
        self._is_connected = False
        self._head, self._socket = None, ""
        try:
            self._ray.shutdown()
        except Exception:  # it is left in any case
            logger.exception("Ray could not be left.")
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _problem(self) -> str:
        """Return why the cluster cannot be used; "" if it answers."""
        try:
            if self._head is not None:
                socket.create_connection(self._head, _CONNECT_TIMEOUT_S).close()
            if self._socket.startswith("/"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.setblocking(False)  # a busy one is there as well
                    client.connect(self._socket)
        except BlockingIOError:
            return ""
        except OSError as error:
            return f"{self._name} does not answer: {error.strerror or error}"
        return ""

    def _raise_if_silent(self) -> None:
        """Look whether anybody listens at the address: Ray would wait for ever.

        Raises:
            WorkerLost: nobody does.
        """
        if self.address == "auto":
            return
        try:
            self._head = _host_port(self.address)
        except ValueError:
            raise WorkerLost(
                f"'{self.address}' is not the address of a Ray cluster; write it like 192.168.1.2:6379"
            ) from None
        if problem := self._problem():
            raise WorkerLost(problem)

    @property
    def _name(self) -> str:
        return f"Ray at {self.address}" if self.address else "Ray"


@contextlib.contextmanager
def _kept_signal_handler(number: int) -> Generator[None]:
    """Put the handler of a signal back: Ray's own writes a stack and ends the process.

    Python sets handlers on its main thread alone, which serves.
    """
    if os.name != "posix":
        yield
        return
    libc = ctypes.CDLL(None)
    handler = ctypes.create_string_buffer(_SIGACTION_BYTES)
    libc.sigaction(number, None, handler)
    try:
        yield
    finally:
        libc.sigaction(number, handler, None)


def _set_environment(env: MutableMapping[str, str], *, starts: bool) -> None:
    for name, value in _ENVIRONMENT.items():
        env.setdefault(name, value)
    # Ray ends a process that loses it where this one is gone, else where its parent is, as that of a service is.
    env["RAY_RAYLET_PID"] = str(os.getpid())
    if starts:  # nobody else is to use the Ray of this run; one token, since Ray reads it once
        env["RAY_AUTH_MODE"] = "token"
        env.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _remove_leftovers(folder: Path) -> None:
    """Remove the folders of servers that were killed."""
    for path in folder.glob(f"{_FOLDER}*-*"):
        number = path.name.removeprefix(_FOLDER).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)) and is_own_folder(path):
            shutil.rmtree(path, ignore_errors=True)


def _host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError(address)
    return host.strip("[]"), int(port)


def _node(entry: Mapping[str, Any]) -> Node:
    resources = entry["Resources"]
    return Node(
        entry["NodeID"],
        entry["NodeManagerHostname"],
        int(resources.get("CPU", 0)),
        int(resources.get("GPU", 0)),
    )


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300].rstrip(".")
