from __future__ import annotations

import io
import json
from typing import Any

from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.params.events import Note
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.conftest import write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(width=64, height=64, steps=4, seed=7)


def events(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    """Return every message of the stream; it must end by itself."""
    with client.stream("GET", f"/internal/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def test_ping_answers(client: TestClient):
    assert client.get("/internal/ping").json() == {}


def test_the_state_has_device_and_checkpoint(client: TestClient):
    state = client.get("/internal/state").json()
    assert (state["phase"], state["device"], state["checkpoint"]) == (
        "ready",
        "Test device",
        "first.safetensors",
    )
    assert state["demo"] == ""


def test_the_state_explains_the_demo_model(client: TestClient, engine: Engine):
    demo = engine.paths.root / "models" / "Stable-diffusion" / "demo"
    write_listed_checkpoint(demo / "demo.safetensors", "demo")
    engine.models.refresh()
    engine.select_checkpoint("demo")
    assert "models/Stable-diffusion" in client.get("/internal/state").json()["demo"]


def test_a_job_is_found_again_after_a_reload(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(3)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    job_json = client.get(f"/internal/jobs/{job.id}").json()
    assert (job_json["state"], job_json["step"], job_json["steps"]) == ("running", 2, 4)
    assert (job_json["fraction"], job_json["images"], job_json["image_count"]) == (0.5, 0, 1)
    executor.release()
    assert job.wait(PATIENCE_S)
    assert client.get(f"/internal/jobs/{job.id}").json()["images"] == 1


def test_an_unknown_job_is_a_404_with_a_sentence(client: TestClient):
    for response in (
        client.get("/internal/jobs/x"),
        client.get("/internal/jobs/x/events"),
        client.get("/internal/jobs/x/preview"),
        client.post("/internal/jobs/x/interrupt"),
    ):
        assert response.status_code == 404
        assert "no longer known" in response.json()["detail"]


def test_the_events_of_an_ended_job_are_its_last_state(client: TestClient, engine: Engine):
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    messages = events(client, job.id)
    assert [message["state"] for message in messages] == ["done"]
    assert messages[0]["fraction"] == 1


def test_the_events_end_with_the_job(client: TestClient, engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    job.receive(Note("A note."))
    executor.release()
    messages = events(client, job.id)
    assert messages[-1]["state"] == "done"
    assert messages[-1]["notes"] == ["A note."]


def test_a_failed_job_has_its_error(client: TestClient, engine: Engine, executor: FakeExecutor):
    executor.failures = [ValueError("a bug")]
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    error = events(client, job.id)[-1]["error"]
    assert error == "Internal error: ValueError: a bug. The log has the details."


def test_interrupting_a_job_by_id_stops_it(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    assert client.post(f"/internal/jobs/{job.id}/interrupt").json() == {}
    executor.release()
    assert job.wait(PATIENCE_S)
    assert job.status().state == "cancelled"


def test_no_preview_is_rendered_while_nobody_watches(client: TestClient, engine: Engine):
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    assert client.get(f"/internal/jobs/{job.id}").json()["preview"] == 0
    assert client.get(f"/internal/jobs/{job.id}/preview").content == b""


def test_a_watched_job_has_a_preview(client: TestClient, engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    job.watch()  # as the stream of events does
    executor.release()
    assert job.wait(PATIENCE_S)
    response = client.get(f"/internal/jobs/{job.id}/preview")
    assert response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == "JPEG"


def test_the_live_routes_are_not_in_the_documented_api(client: TestClient):
    assert not any(
        path.startswith("/internal") for path in client.get("/openapi.json").json()["paths"]
    )


def test_skipping_a_batch_of_a_job_by_id(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(1)
    job = engine.submit(SMALL.replace(n_iter=2))
    assert executor.held.wait(PATIENCE_S)
    assert client.post(f"/internal/jobs/{job.id}/skip").json() == {}
    executor.release()
    assert job.wait(PATIENCE_S)
    assert [image.index for image in job.status().images] == [1]
