"""Benchmarks the queue and the HTTP API: round trips, responses while generating, load, and restart."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ONE_STEP = {
    "prompt": "a red circle",
    "width": 64,
    "height": 64,
    "steps": 1,
    "sampler_name": "Euler",
    "seed": 1,
}
LONG = {**ONE_STEP, "width": 512, "height": 512, "steps": 200}
FINISHED_JOBS = 10_000
SUBMITTED = 500
CALLS, THREADS = 200, 50


def run(rounds: int) -> None:
    """Print every measurement.

    Args:
        rounds: Number of times that ten round trips are timed.
    """
    print(f"store with {FINISHED_JOBS} finished jobs: ", end="", flush=True)
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        fill_store(Path(full), FINISHED_JOBS)
        size = (Path(full) / "queue" / "jobs.sqlite").stat().st_size / 2**20
        opened = min(open_store(Path(full)) for _ in range(3))
        started = [
            statistics.median(start_time(Path(folder)) for _ in range(3))
            for folder in (empty, full)
        ]
        print(
            f"{size:.0f} MiB, opened in {opened * 1000:.0f} ms; server start to the queue's first answer "
            f"{started[1]:.2f} s, without jobs {started[0]:.2f} s"
        )
    with tempfile.TemporaryDirectory() as data, serving(Path(data), ready=True) as server:
        measure_round_trip(server, 10 * rounds)
        measure_submission(server)
        measure_progress(server)
        measure_load(server)


# A restart


def fill_store(data: Path, count: int) -> None:
    """Store `count` finished jobs of one image each."""
    from modules.engine.jobs.fair_queue import QueuePosition
    from modules.engine.jobs.store import JobStore
    from modules.params.requests.txt2img import Txt2ImgRequest
    from modules.params.results import GeneratedImage
    from modules.params.settings import Settings

    store = JobStore(data / "queue")
    request, settings = Txt2ImgRequest(prompt="mountains at sunset, " * 10), Settings()
    for number in range(count):
        with store.hold_request(request, settings) as stored:
            store.add(QueuePosition(0, number, f"job-{number}", "api"), stored, 1)
        store.log_start(f"job-{number}")
        store.log_image(
            f"job-{number}", 0, GeneratedImage(0, number, request.prompt * 3, data / "x.png")
        )
    store.close()
    with closing(sqlite3.connect(data / "queue" / "jobs.sqlite")) as connection, connection:
        connection.execute("UPDATE jobs SET state = 'done', ended = created")


def open_store(data: Path) -> float:
    """Return the seconds to open the store and list its newest jobs."""
    from modules.engine.jobs.store import JobStore

    start = time.perf_counter()
    store = JobStore(data / "queue")
    assert len(store.take_leftover_jobs()) == 0 and len(store.ended_jobs(40)) == 40
    seconds = time.perf_counter() - start
    store.close()
    return seconds


def start_time(data: Path) -> float:
    """Return the seconds from the start of the process to the queue's first answer."""
    start = time.perf_counter()
    with serving(data) as server:
        server.get("/internal/queue")
        return time.perf_counter() - start


# A running server


class Server:
    """A server in a process of its own, called over one keep-alive connection per thread."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port
        self._local = threading.local()

    def get(self, path: str) -> Any:
        """Return the JSON or text of a GET request."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of a POST request."""
        return self._call("POST", path, json.dumps(body or {}))

    def delete(self, path: str) -> Any:
        """Return the JSON of a DELETE request."""
        return self._call("DELETE", path, None)

    def resident_mib(self) -> float:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _call(self, method: str, path: str, body: str | None) -> Any:
        try:
            status, content_type, text = self._exchange(method, path, body)
        except http.client.RemoteDisconnected:  # the connection was idle for too long
            del self._local.connection
            status, content_type, text = self._exchange(method, path, body)
        if status >= 400:
            raise SystemExit(f"{method} {path}: {status} {text[:300]!r}")
        return json.loads(text) if "json" in content_type else text

    def _exchange(self, method: str, path: str, body: str | None) -> tuple[int, str, bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=300
            )
            self._local.connection.connect()
            self._local.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._local.connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self._local.connection.getresponse()
        return response.status, response.headers["content-type"], response.read()


@contextmanager
def serving(data: Path, ready: bool = False) -> Iterator[Server]:
    """Start a server with the page and the API; with `ready`, wait for its checkpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "modules",
        "--use-cpu",
        "--port",
        str(port),
        "--data-dir",
        str(data),
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        while "Running on" not in process.stdout.readline():
            if process.poll() is not None:
                raise SystemExit("The server did not start.")
        server = Server(process, port)
        while ready and server.get("/internal/state")["phase"] != "ready":
            time.sleep(0.1)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds of a call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def spread(times: list[float]) -> str:
    """Return median, 95th percentile and maximum of times in milliseconds."""
    times = sorted(times)
    return f"median {statistics.median(times):.0f} ms, 95 % within {times[int(len(times) * 0.95)]:.0f} ms, longest {times[-1]:.0f} ms"


def measure_round_trip(server: Server, count: int) -> None:
    """Print the overhead of the API over the engine's own time for the smallest image."""
    call = lambda: server.post("/sdapi/v1/txt2img", ONE_STEP)  # noqa: E731
    for _ in range(3):
        call()
    round_trips = [timed(call) for _ in range(count)]
    jobs = server.get(f"/api/v1/jobs?state=ended&limit={count}")["jobs"]
    engine_times = [(job["ended"] - job["started"]) * 1000 for job in reversed(jobs)]
    overhead = [a - b for a, b in zip(round_trips, engine_times, strict=True)]
    print(
        f"round trip, 1 step at 64x64: {statistics.median(round_trips):.1f} ms, the engine's own time "
        f"{statistics.median(engine_times):.1f} ms, added {statistics.median(overhead):.1f} ms"
    )


def measure_submission(server: Server) -> None:
    """Print how many jobs per second the queue accepts, from one thread and from eight."""
    server.post("/api/v1/queue/pause")
    start = time.perf_counter()
    for _ in range(SUBMITTED):
        server.post("/api/v1/jobs", ONE_STEP)
    single = SUBMITTED / (time.perf_counter() - start)
    start = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.post("/api/v1/jobs", ONE_STEP), range(SUBMITTED)))
    parallel = SUBMITTED / (time.perf_counter() - start)
    list_times = [timed(lambda: server.get("/internal/queue")) for _ in range(20)]
    server.post("/internal/queue/cancel")
    server.post("/api/v1/queue/resume")
    print(
        f"jobs submitted per second: {single:.0f} by one client, {parallel:.0f} by eight; "
        f"the Queue tab's answer with {2 * SUBMITTED} waiting: {spread(list_times)}"
    )


def measure_progress(server: Server) -> None:
    """Print the response times of /sdapi/v1/progress during generation."""
    job = server.post("/api/v1/jobs", LONG)["id"]
    while server.get(f"/api/v1/jobs/{job}")["state"] != "running":
        time.sleep(0.05)
    times: list[float] = []
    for _ in range(100):
        times.append(timed(lambda: server.get("/sdapi/v1/progress")))
        time.sleep(0.02)
    assert server.get(f"/api/v1/jobs/{job}")["state"] == "running"
    server.delete(f"/api/v1/jobs/{job}")
    print(f"/sdapi/v1/progress while generating: {spread(times)}")


def measure_load(server: Server) -> None:
    """Print response times and memory while many clients wait."""
    before = server.resident_mib()
    idle = {
        path: [timed(lambda path=path: server.get(path)) for _ in range(30)]
        for path in ("/sdapi/v1/progress", "/")
    }
    times: dict[str, list[float]] = {"/sdapi/v1/progress": [], "/": []}
    largest = before
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        responses = [pool.submit(server.post, "/sdapi/v1/txt2img", ONE_STEP) for _ in range(CALLS)]
        while not all(response.done() for response in responses):
            for path, path_times in times.items():
                path_times.append(timed(lambda path=path: server.get(path)))
            largest = max(largest, server.resident_mib())
            time.sleep(0.05)
        assert all(len(response.result()["images"]) == 1 for response in responses)
    print(
        f"{CALLS} calls from {THREADS} threads: all answered in {time.perf_counter() - start:.1f} s, memory "
        f"{before:.0f} MiB before, at most {largest:.0f} MiB"
    )
    for path, path_times in times.items():
        print(
            f"  {path} meanwhile: {spread(path_times)}; before, when nothing ran: {spread(idle[path])}"
        )
