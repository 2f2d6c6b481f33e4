from __future__ import annotations

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(width=64, height=64, steps=4)


def test_a_job_is_followed_from_the_queue_to_its_end(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(3)
    first, second = engine.submit(SMALL), engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    running = client.post("/internal/progress", json={"id_task": first.id}).json()
    waiting = client.post("/internal/progress", json={"id_task": second.id}).json()
    assert (running["active"], running["progress"], running["textinfo"]) == (True, 0.5, "Sampling")
    assert (waiting["active"], waiting["queued"]) == (False, True)
    assert client.get("/internal/pending-tasks").json() == {
        "size": 2,
        "tasks": [first.id, second.id],
    }
    executor.release()
    assert second.wait(PATIENCE_S)
    assert client.post("/internal/progress", json={"id_task": first.id}).json()["completed"]


def test_a_preview_comes_once_as_a_data_uri(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    job.watch()
    executor.hold_at_next(3)
    assert executor.held.wait(PATIENCE_S)
    first = client.post("/internal/progress", json={"id_task": job.id}).json()
    assert first["live_preview"].startswith("data:image/jpeg;base64,")
    repeated = {"id_task": job.id, "id_live_preview": first["id_live_preview"]}
    assert client.post("/internal/progress", json=repeated).json()["live_preview"] is None


def test_an_unknown_job_has_completed(client: TestClient):
    assert client.post("/internal/progress", json={"id_task": "x"}).json()["completed"]


def test_every_option_has_a_quicksettings_hint(client: TestClient):
    hints = client.get("/internal/quicksettings-hint").json()
    assert [hint["name"] for hint in hints] == list(Settings.model_fields)
