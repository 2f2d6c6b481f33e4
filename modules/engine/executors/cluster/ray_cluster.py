"""RayCluster: the connection of this process to Ray, one that it starts on this machine or one that runs."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from modules.engine.executors.worker_link import WorkerLost

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_OBJECT_STORE_BYTES = 512 * 2**20  # pictures and previews on their way
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
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
    """Connects to Ray when it is needed, and again when it went away. Thread-safe.

    Args:
        address: Of a running cluster, or "auto" for the one of this machine; "" starts Ray on this machine.
        cpus: How many processors a Ray that is started gives to workers.
    """

    def __init__(self, address: str = "", cpus: int = 1) -> None:
        self.address = address
        self._cpus = cpus
        self._lock = threading.Lock()
        self._ray: Any = None
        self._is_connected = False
        self._is_closed = False
        self._head: tuple[str, int] | None = None  # where the head of the cluster listens
        self._socket = ""  # where the Ray of this machine does
        self._folder = ""
        self._checked = (float("-inf"), "")  # when it was looked at last, and what was wrong

    def connect(self) -> Any:
        """Return the module `ray`, connected. Any: without Ray there is no type.

        Raises:
            WorkerLost: there is no cluster.
        """
        with self._lock:
            if self._is_closed:
                raise WorkerLost("the server is stopping")
            if self._is_connected and self._problem():
                self._disconnect()
            if not self._is_connected:
                self._connect()
            return self._ray

    def check(self) -> None:
        """Raise WorkerLost if the cluster does not answer; looks at most once a second."""
        with self._lock:
            at, problem = self._checked
            if time.monotonic() - at > 1:
                problem = self._problem()
                self._checked = time.monotonic(), problem
        if problem:
            raise WorkerLost(problem)

    def nodes(self) -> list[Node]:
        """Return the machines of the cluster.

        Raises:
            WorkerLost: there is no cluster.
        """
        ray = self.connect()
        return [_node(entry) for entry in ray.nodes() if entry["Alive"]]

    def close(self) -> None:
        """End what was started, and connect no more."""
        with self._lock:
            self._is_closed = True
            if self._is_connected:
                self._disconnect()

    def _connect(self) -> None:
        _set_environment(os.environ, starts=not self.address)
        try:
            self._ray = ray = importlib.import_module("ray")
        except ImportError as error:
            raise WorkerLost(
                f"Ray is not installed ({error}); start with ./webui.sh, which installs it"
            ) from None
        if self.address:
            self._raise_if_silent()
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self.address:
            options["address"] = self.address
        else:
            self._folder = tempfile.mkdtemp(prefix="webui-ray-")  # its paths must be short
            options |= {
                "num_cpus": self._cpus,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
                "_temp_dir": self._folder,
            }
        logger.info("%s %s.", "Connecting to" if self.address else "Starting", self._name)
        try:
            context = ray.init(**options)
        except Exception as error:
            logger.debug("Ray failed.", exc_info=True)
            with contextlib.suppress(Exception):
                ray.shutdown()
            raise WorkerLost(f"{self._name} cannot be used: {_first_line(error)}") from None
        self._head = _host_port(context.address_info["gcs_address"])
        self._socket = context.address_info["raylet_socket_name"]
        self._checked = time.monotonic(), ""
        self._is_connected = True

    def _disconnect(self) -> None:
        self._is_connected = False
        self._head, self._socket = None, ""
        try:
            self._ray.shutdown()
        except Exception:  # it is left in any case
            logger.exception("Ray could not be left.")
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _problem(self) -> str:
        """Return why the cluster cannot be used; "" if it answers."""
        try:
            if self._head is not None:
                socket.create_connection(self._head, _CONNECT_TIMEOUT_S).close()
            if self._socket.startswith("/"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(_CONNECT_TIMEOUT_S)
                    client.connect(self._socket)
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


def _set_environment(env: MutableMapping[str, str], *, starts: bool) -> None:
    for name, value in _ENVIRONMENT.items():
        env.setdefault(name, value)
    if starts:  # nobody else is to use the cluster of this run
        env["RAY_AUTH_MODE"] = "token"
        env["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


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
