"""The frames of recorded runs on the disk: how long they stay, on the page as it is served."""

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
from modules.ui.tabs.diffusion_process.reverse import follow_jobs, submit_recorded
from tests.engine.fake_executor import PATIENCE_S

IMAGE = Image.new("RGB", (8, 8), "red")
RECORDING = Recording(
    tuple(RecordedStep(n, 1.0 + n, 10.0, IMAGE, IMAGE, IMAGE, None, 0.1) for n in range(2)),
    np.zeros(16, dtype=np.float32),
    np.linspace(0.03, 14.6, 1000),
)
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4)


def runs_in(temp: Path) -> list[Path]:
    return sorted((temp / "diffusion-process").glob("*"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job has a recording, which the plain executor does not make."""
    monkeypatch.setattr(Job, "take_recording", lambda _: RECORDING)


# Without Gradio


def test_a_run_is_written_shown_and_deleted(tmp_path: Path):
    frames = frame_files.save_frames(RECORDING, tmp_path)
    path = frames.path(1, "x")
    assert path is not None and Path(path).is_file()
    assert (frames.count, frames.path(1, "difference")) == (2, None)
    frame_files.delete_frames(frames)
    assert (runs_in(tmp_path), frames.path(1, "x")) == ([], None)
    frame_files.delete_frames(frames)
    frame_files.delete_frames(None)


def test_a_run_that_could_not_be_written_whole_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(OSError, match="No space left"):
        frame_files.save_frames(RECORDING, tmp_path)
    assert runs_in(tmp_path) == []


def test_runs_of_former_days_are_deleted_with_the_next_one(tmp_path: Path):
    old, recent = (frame_files.save_frames(RECORDING, tmp_path) for _ in range(2))
    os.utime(old.folder, (time.time() - frame_files.LIFETIME_S - 60,) * 2)
    new = frame_files.save_frames(RECORDING, tmp_path)
    assert runs_in(tmp_path) == sorted((recent.folder, new.folder))


@pytest.mark.usefixtures("recorded")
def test_frames_stay_until_there_are_others(engine: Engine):
    shown = frame_files.save_frames(RECORDING, engine.paths.gradio_temp)
    *_, frames, _ = list(follow_jobs(engine, submit_recorded(engine, SMALL), shown))[-1]
    assert runs_in(engine.paths.gradio_temp) == [frames.folder]


def test_frames_stay_when_the_next_run_fails(engine: Engine):
    shown = frame_files.save_frames(RECORDING, engine.paths.gradio_temp)
    assert (
        "Nothing was recorded"
        in list(follow_jobs(engine, submit_recorded(engine, SMALL), shown))[-1][0]
    )
    assert runs_in(engine.paths.gradio_temp) == [shown.folder]


# On the page


class Page:
    """A session of the page: presses the tab's button and keeps the heartbeat, as the browser does."""

    def __init__(self, url: str, session: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        self._session = session
        config = self._client.get("/config").json()
        self._values = {one["id"]: one["props"].get("value") for one in config["components"]}
        ids = {one["props"].get("elem_id"): one["id"] for one in config["components"]}
        self._show = next(
            one for one in config["dependencies"] if [ids["process_reverse"], "click"] in one["targets"]
        )  # fmt: skip

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
        """Press the button and return all that is answered."""
        data = [self._values[number] for number in self._show["inputs"]]
        call: dict[str, Any] = {
            "fn_index": self._show["id"],
            "data": data,
            "session_hash": self._session,
        }
        self._client.post("/gradio_api/queue/join", json=call).raise_for_status()
        answer = self._client.get(
            "/gradio_api/queue/data", params={"session_hash": self._session}
        ).text
        last = json.loads(answer.strip().splitlines()[-1].removeprefix("data: "))
        assert last["msg"] == "close_stream", answer
        return answer


@pytest.fixture
def url(engine: Engine, recorded: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page as it is served; Gradio deletes the states of a closed page after a second instead of an hour."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(engine.paths.gradio_temp))
    monkeypatch.setenv("GRADIO_IS_E2E_TEST", "1")
    frame_files.save_frames(RECORDING, engine.paths.gradio_temp)  # the last server was killed
    served = app.make_app(engine, Flags(api=True))
    assert runs_in(engine.paths.gradio_temp) == [], "the page starts without them"
    server = uvicorn.Server(
        uvicorn.Config(served, port=0, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(PATIENCE_S)


def test_a_session_has_one_run_on_the_disk_and_none_once_its_page_is_closed(
    url: str, engine: Engine
):
    temp = engine.paths.gradio_temp
    with Page(url, "other").opened() as other:
        other.show()
        (kept,) = runs_in(temp)
        with Page(url, "closed").opened() as page:
            assert "000-denoised.webp" in page.show() or "001-denoised.webp" in page.show()
            (first,) = set(runs_in(temp)) - {kept}
            page.show()
            (second,) = set(runs_in(temp)) - {kept}
            assert second != first
            time.sleep(1.5)
            assert second.exists(), "the page is still open"
        wait_until(lambda: runs_in(temp) == [kept])
    wait_until(lambda: runs_in(temp) == [])
