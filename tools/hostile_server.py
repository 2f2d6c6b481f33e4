"""The server that hostile cases are tried on: its start, its answers, and what they cost."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 180
TIMEOUT_S = 20  # of one answer
DEAD = 599  # means no answer
MEMORY_LIMIT_MIB = 8192  # of the server's own data: the machine must survive what is tried
PULSE_S = 0.2
CHUNK = 2**16
SECRET = b"root:x:0:0"
SMALL_IMAGE = b'{"prompt": "a", "width": 64, "height": 64, "steps": 1}'


class Answer(NamedTuple):
    """An answer of the server.

    Args:
        status: HTTP's, or DEAD.
        text: Its body, or why there is none.
    """

    status: int
    text: bytes


class HostileServer:
    """A server in a process of its own, with a temporary data folder; it is started again when it died."""

    def __init__(self, data: Path, flags: tuple[str, ...] = ()) -> None:
        self.data = data
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._preparation_s = 0.0
        self.slowest_page_s = 0.0

    def start(self) -> None:
        """Start it, and wait until it has made an image.

        Raises:
            SystemExit: it did not start.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        command = [sys.executable, "-m", "modules", "--use-cpu", "--port", str(self._port)]
        with (self.data / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self.data), *self._flags],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=_limit_memory,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.call("GET", "/internal/ping", timeout_s=2).status != http.HTTPStatus.OK:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"The server did not start; see {self.data / 'server.log'}.")
            time.sleep(0.1)
        # The first image loads torch and the model: that is no case's time.
        self.call("POST", "/sdapi/v1/txt2img", SMALL_IMAGE, timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def revive(self) -> bool:
        """Start it again when it is dead or makes no image any more; return whether that was needed."""
        assert self._process is not None
        if self.call("POST", "/sdapi/v1/txt2img", SMALL_IMAGE).status == http.HTTPStatus.OK:
            return False
        self._process.kill()
        self._process.wait()
        self.start()
        return True

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        timeout_s: float = TIMEOUT_S,
        whole: bool = False,
    ) -> Answer:
        """Return the start of the answer to a request, or all of it; DEAD when none came in time."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.socket()
        connection.settimeout(timeout_s)
        try:
            connection.connect(("127.0.0.1", self._port))
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # refused while it is sent
                connection.sendall(head.encode() + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return Answer(response.status, response.read(None if whole else CHUNK))
        except (OSError, http.client.HTTPException) as error:
            return Answer(DEAD, repr(error).encode())
        finally:
            connection.close()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Measure what a case does before it sends a request: the server is not measured."""
        start = time.monotonic()
        yield
        self._preparation_s += time.monotonic() - start

    def take_preparation_s(self) -> float:
        """Return the time of all preparation since the last call."""
        seconds, self._preparation_s = self._preparation_s, 0.0
        return seconds

    def busy_s(self) -> float:
        """Return the seconds of CPU time that it has taken, 0 when it is gone."""
        assert self._process is not None
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # with ended children
        return 0.0

    def reset_peak(self) -> int:
        """Return its memory now, and count the peak from here."""
        assert self._process is not None
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self._status("VmRSS:")

    def peak_mib(self) -> int:
        """Return its highest memory since the last reset, 0 when it is gone."""
        return self._status("VmHWM:")

    def _status(self, field: str) -> int:
        assert self._process is not None
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024
        return 0

    @contextmanager
    def pulse(self) -> Iterator[None]:
        """Ask for the smallest answer all the time, and keep how long the slowest one took."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(PULSE_S):
                start = time.monotonic()
                if self.call("GET", "/internal/ping").status == http.HTTPStatus.OK:
                    self.slowest_page_s = max(self.slowest_page_s, time.monotonic() - start)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _limit_memory() -> None:
    size = MEMORY_LIMIT_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
