from __future__ import annotations

import base64

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(width=64, height=64, steps=4, seed=7)
URL = "/sdapi/v1/progress"
STATE_KEYS = {
    "skipped",
    "interrupted",
    "stopping_generation",
    "job",
    "job_count",
    "job_timestamp",
    "job_no",
    "sampling_step",
    "sampling_steps",
}


def test_an_idle_server_reports_zero(client: TestClient):
    answer = client.get(URL).json()
    assert (answer["progress"], answer["eta_relative"], answer["state"]["job_count"]) == (0, 0, 0)
    assert answer["current_image"] is None
    assert set(answer["state"]) >= STATE_KEYS


def test_a_running_job_reports_its_progress(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(3)
    engine.submit(SMALL.replace(n_iter=2))
    assert executor.held.wait(PATIENCE_S)
    answer = client.get(URL).json()
    assert answer["progress"] == 0.25
    assert answer["eta_relative"] == 0.6
    assert answer["state"]["job_count"] == 2
    assert (answer["state"]["sampling_step"], answer["state"]["sampling_steps"]) == (2, 8)
    assert not answer["state"]["interrupted"]
    assert answer["textinfo"] == "Sampling"
    assert len(answer["state"]["job_timestamp"]) == 14


def test_progress_of_a_running_job_is_at_least_one_percent(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(1)
    engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    assert client.get(URL).json()["progress"] == 0.01


def test_polling_turns_previews_on_unless_skipped(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    assert client.get(URL).json()["current_image"] is None
    executor.hold_at_next(4)
    assert executor.held.wait(PATIENCE_S)
    skipped = client.get(URL, params={"skip_current_image": True}).json()
    assert skipped["current_image"] is None
    preview = client.get(URL).json()["current_image"]
    assert base64.b64decode(preview)[:2] == b"\xff\xd8"
    assert client.get(URL, params={"skip_current_image": True}).json()["current_image"] is None


def test_interrupt_stops_the_running_job(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    response = client.post("/sdapi/v1/interrupt")
    assert (response.status_code, response.json()) == (200, {})
    assert client.get(URL).json()["state"]["interrupted"]
    executor.release()
    assert job.wait(PATIENCE_S)
    assert job.status().state == "cancelled"


def test_interrupt_without_a_running_job_does_nothing(client: TestClient):
    assert client.post("/sdapi/v1/interrupt").json() == {}


def test_skip_goes_on_with_the_next_batch(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.submit(SMALL.replace(n_iter=3))
    assert executor.held.wait(PATIENCE_S)
    response = client.post("/sdapi/v1/skip")
    assert (response.status_code, response.json()) == (200, None)
    assert client.get(URL).json()["state"]["skipped"]
    executor.release()
    assert job.wait(PATIENCE_S)
    assert [image.index for image in job.status().images] == [1, 2]
    assert job.status().state == "done"


def test_skip_without_a_running_job_does_nothing(client: TestClient):
    assert client.post("/sdapi/v1/skip").json() is None
