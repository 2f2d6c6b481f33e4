"""The frames of recorded runs on disk: when they are deleted, also by the served page."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from modules import app
from modules.core.flags import Flags
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import RecordedStep, Recording
from modules.ui.tabs.diffusion_process import frame_files
from modules.ui.tabs.diffusion_process.reverse import follow_comparison, start_comparison
from tests.engine.fake_executor import PATIENCE_S

IMAGE = Image.new("RGB", (8, 8), "red")
RECORDING = Recording(
    tuple(RecordedStep(n, 1.0 + n, 10.0, IMAGE, IMAGE, IMAGE, None, 0.1) for n in range(2)),
    np.zeros(16, dtype=np.float32),
    np.linspace(0.03, 14.6, 1000),
)
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4)


def run_folders(temp: Path) -> list[Path]:
    return sorted((temp / "diffusion-process").glob("*"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def recorded_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every job a recording, which the fake executor does not make."""
    monkeypatch.setattr(Job, "take_recording", lambda _: RECORDING)


# Without Gradio


def test_a_run_is_written_read_and_deleted(tmp_path: Path):
    frames = frame_files.save_frames(RECORDING, tmp_path)
    path = frames.path(1, "x")
    assert path is not None and Path(path).is_file()
    assert (frames.count, frames.path(1, "difference")) == (2, None)
    frame_files.delete_frames(frames)
    assert (run_folders(tmp_path), frames.path(1, "x")) == ([], None)
    frame_files.delete_frames(frames)
    frame_files.delete_frames(None)


def test_a_run_that_could_not_be_written_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(OSError, match="No space left"):
        frame_files.save_frames(RECORDING, tmp_path)
    assert run_folders(tmp_path) == []


def test_old_runs_are_deleted_when_the_next_one_is_written(tmp_path: Path):
    old, recent = (frame_files.save_frames(RECORDING, tmp_path) for _ in range(2))
    os.utime(old.folder, (time.time() - frame_files.LIFETIME_S - 60,) * 2)
    new = frame_files.save_frames(RECORDING, tmp_path)
    assert run_folders(tmp_path) == sorted((recent.folder, new.folder))


@pytest.mark.usefixtures("recorded_jobs")
def test_frames_are_deleted_when_new_ones_replace_them(engine: Engine):
    shown_frames = frame_files.save_frames(RECORDING, engine.paths.gradio_temp)
    *_, frames, _ = list(follow_comparison(engine, start_comparison(engine, SMALL), shown_frames))[
        -1
    ]
    assert run_folders(engine.paths.gradio_temp) == [frames.folder]


def test_frames_are_kept_if_the_next_run_fails(engine: Engine):
    shown_frames = frame_files.save_frames(RECORDING, engine.paths.gradio_temp)
    assert (
        "Nothing was recorded"
        in list(follow_comparison(engine, start_comparison(engine, SMALL), shown_frames))[-1][0]
    )
    assert run_folders(engine.paths.gradio_temp) == [shown_frames.folder]


# On the page


class Page:
    """A session of the page: presses the tab's button and holds the heartbeat open, like a browser."""

    def __init__(self, url: str, session: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        self._session = session
        config = self._client.get("/config").json()
        components = config["components"]
        self._values = {
            component["id"]: component["props"].get("value") for component in components
        }
        ids = {component["props"].get("elem_id"): component["id"] for component in components}
        events = config["dependencies"]
        self._click = next(
            event for event in events if [ids["process_reverse"], "click"] in event["targets"]
        )
        self._load = next(
            event
            for event in events
            if event["targets"][0][1] == "load" and event["outputs"] == self._click["outputs"]
        )

    @contextmanager
    def opened(self) -> Iterator[Page]:
        """Keep the page open for the block."""
        address = self._client.base_url.host, self._client.base_url.port
        request = f"GET /gradio_api/heartbeat/{self._session} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        with socket.create_connection(address, PATIENCE_S) as heartbeat:
            heartbeat.sendall(request.encode())
            assert heartbeat.recv(1024).startswith(b"HTTP/1.1 200")
            yield self

    def show(self) -> str:
        """Press the button and return the whole response stream."""
        return self._call(self._click, [self._values[number] for number in self._click["inputs"]])

    def load(self, stored_jobs: list[str]) -> str:
        """Load the page in a browser that stores these job ids, and return the whole response stream."""
        return self._call(self._load, [stored_jobs, None])

    def _call(self, event: dict[str, Any], data: list[Any]) -> str:
        call: dict[str, Any] = {
            "fn_index": event["id"],
            "data": data,
            "session_hash": self._session,
        }
        self._client.post("/gradio_api/queue/join", json=call).raise_for_status()
        stream = self._client.get(
            "/gradio_api/queue/data", params={"session_hash": self._session}
        ).text
        last = json.loads(stream.strip().splitlines()[-1].removeprefix("data: "))
        assert last["msg"] == "close_stream", stream
        return stream


@pytest.fixture
def url(engine: Engine, recorded_jobs: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the page; Gradio deletes the states of a closed page after a second instead of an hour."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(engine.paths.gradio_temp))
    monkeypatch.setenv("GRADIO_IS_E2E_TEST", "1")
    frame_files.save_frames(RECORDING, engine.paths.gradio_temp)  # the last server was killed
    served = app.make_app(engine, Flags(api=True))
    assert run_folders(engine.paths.gradio_temp) == [], "the page starts without them"
    server = uvicorn.Server(
        uvicorn.Config(served, port=0, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(PATIENCE_S)


def test_a_session_has_one_run_on_disk_and_none_after_its_page_is_closed(url: str, engine: Engine):
    temp = engine.paths.gradio_temp
    with Page(url, "other").opened() as other:
        other.show()
        (kept,) = run_folders(temp)
        with Page(url, "closed").opened() as page:
            assert "000-denoised.webp" in page.show() or "001-denoised.webp" in page.show()
            (first,) = set(run_folders(temp)) - {kept}
            page.show()
            (second,) = set(run_folders(temp)) - {kept}
            assert second != first
            time.sleep(1.5)  # longer than the shortened life of a closed session
            assert second.exists(), "the page is still open"
        wait_until(lambda: run_folders(temp) == [kept])
    wait_until(lambda: run_folders(temp) == [])


def test_a_loaded_page_shows_the_comparison_that_its_browser_has_stored(url: str, engine: Engine):
    group = start_comparison(engine, SMALL)
    with Page(url, "reloaded").opened() as page:
        assert "001-denoised.webp" in page.load([group.id])
        assert "denoised" not in page.load([])
