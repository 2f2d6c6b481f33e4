"""The server is killed while a job runs, and restarted."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw

from tests.conftest import ROOT

JOB = {
    "task": "txt2img",
    "prompt": "a red circle",
    "width": 64,
    "height": 64,
    "steps": 16,
    "sampler_name": "Euler",
}


def outline() -> str:
    """Return a drawn circle in base64."""
    image, buffer = Image.new("RGB", (64, 64)), io.BytesIO()
    ImageDraw.Draw(image).ellipse((8, 8, 40, 40), outline="white", width=2)
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class Server:
    def __init__(self, data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api/v1"
        command = [sys.executable, "-m", "modules", "--nowebui", "--use-cpu", "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--data-dir", str(data)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        while "Running on" not in self.process.stdout.readline():
            assert self.process.poll() is None

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def follow_until(
        self, job_id: str, condition: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Read the job's events until one satisfies the condition, and return that one."""
        with urllib.request.urlopen(f"{self.url}/jobs/{job_id}/events", timeout=60) as events:
            for line in events:
                if line.startswith(b"data: ") and condition(event := json.loads(line[6:])):
                    return event
        raise AssertionError("The events ended.")

    def image_of(self, job_id: str) -> Image.Image:
        """Return the first image of a job."""
        address = self.call(f"/jobs/{job_id}")["images"][0]["url"].removeprefix("/api/v1")
        with urllib.request.urlopen(self.url + address, timeout=60) as response:
            return Image.open(io.BytesIO(response.read())).convert("RGB")

    def stop(self, by: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(by)
        self.process.communicate(timeout=120)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    servers: list[Server] = []

    def started() -> Server:
        servers.append(Server(tmp_path))
        return servers[-1]

    yield started
    for server in servers:
        server.stop(signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_a_killed_server_loses_no_finished_image_and_the_queue_continues(
    start: Callable[[], Server], tmp_path: Path
):
    server = start()
    unit = {"enabled": True, "model": "demo-outline", "image": outline()}
    controlled = {**JOB, "steps": 2, "seed": 7, "control_units": [unit]}
    finished = server.call("/jobs", controlled)["id"]
    server.follow_until(finished, lambda event: event["state"] == "done")
    before = server.image_of(finished)
    killed = server.call("/jobs", {**JOB, "n_iter": 50, "control_units": [unit]})["id"]
    waiting = server.call("/jobs", controlled)["id"]
    server.follow_until(killed, lambda event: event["images"] >= 2)
    server.stop(signal.SIGKILL)
    files = {path: path.read_bytes() for path in tmp_path.glob("outputs/txt2img-images/*/*.png")}
    saved = {path: data for path, data in files.items() if b"Steps: 16" in data}
    assert 2 <= len(saved) < 50

    server = start()
    server.follow_until(waiting, lambda event: event["state"] == "done")
    job = server.call(f"/jobs/{killed}")
    count = len(job["images"])
    assert (job["state"], job["error"]) == (
        "failed",
        f"The server was stopped while it ran; {count} pictures were finished.",
    )
    assert len(saved) - 1 <= count <= len(saved)  # one may be saved but not yet recorded
    for image in job["images"]:
        with urllib.request.urlopen(
            server.url + image["url"].removeprefix("/api/v1"), timeout=60
        ) as response:
            assert response.read() in saved.values()
    for path, content in saved.items():
        assert path.read_bytes() == content
        with Image.open(path) as image:
            assert image.info["parameters"].startswith("a red circle\nSteps: 16")
    assert server.call(f"/jobs/{waiting}")["images"][0]["seed"] == 7
    assert ImageChops.difference(server.image_of(waiting), before).getbbox() is None
    retried = server.call(f"/jobs/{killed}/retry", {})
    assert retried["request"]["seed"] == job["request"]["seed"]
