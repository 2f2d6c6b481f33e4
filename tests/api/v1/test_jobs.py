from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL: dict[str, Any] = {
    "task": "txt2img",
    "prompt": "a cat",
    "width": 64,
    "height": 64,
    "steps": 4,
    "seed": 7,
    "styles": None,
}


def sent(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/jobs", json={**SMALL, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()


def ended(client: TestClient, engine: Engine, job_id: str) -> dict[str, Any]:
    assert engine.job(job_id).wait(PATIENCE_S)
    return client.get(f"/api/v1/jobs/{job_id}").json()


def events(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def test_a_job_is_answered_at_once_and_told_by_its_id(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(3)
    job = sent(client, n_iter=2)
    assert executor.held.wait(PATIENCE_S)
    told = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (told["state"], told["source"], told["task"], told["progress"]) == (
        "running",
        "api",
        "txt2img",
        0.25,
    )
    assert told["request"]["prompt"] == "a cat" and told["checkpoint"] == "first.safetensors"
    executor.release()
    told = ended(client, engine, job["id"])
    assert (told["state"], [image["seed"] for image in told["images"]]) == ("done", [7, 8])
    assert "Seed: 8" in told["images"][1]["infotext"]


def test_the_body_is_described_by_the_declared_fields(client: TestClient):
    told = client.get("/openapi.json").json()
    fields = told["components"]["schemas"]["JobBody"]["properties"]
    assert fields["task"]["enum"] == ["txt2img", "img2img", "inpaint", "depth2img"]
    assert fields["steps"]["anyOf"][0]["maximum"] == 1000 and fields["depth_map"]["description"]
    assert "/api/v1/images/{image_id}" in told["paths"]


def test_a_picture_is_served_by_its_id(client: TestClient, engine: Engine):
    image = ended(client, engine, sent(client)["id"])["images"][0]
    answer = client.get(image["url"])
    assert (answer.headers["content-type"], "immutable" in answer.headers["cache-control"]) == (
        "image/png",
        True,
    )
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((64, 64), (7, 0, 0))
    small = client.get(f"/internal/images/{image['id']}/thumbnail")
    with Image.open(io.BytesIO(small.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


@pytest.mark.parametrize(
    "name",
    ["x", "x.0", "{id}.1", "{id}.-1", "{id}.²", "{id}", "..%2f..%2fconfig.json", "{id}.99999999"],
)
def test_what_is_no_picture_is_a_404_in_words(client: TestClient, engine: Engine, name: str):
    job_id = sent(client)["id"]
    ended(client, engine, job_id)
    answer = client.get(f"/api/v1/images/{name.format(id=job_id)}")
    assert answer.status_code == 404


def test_no_file_outside_the_outputs_is_served(client: TestClient, engine: Engine):
    image = ended(client, engine, sent(client)["id"])["images"][0]
    path = next(engine.paths.outputs.rglob("*.png"))
    path.unlink()
    assert "no longer in the outputs" in client.get(image["url"]).json()["detail"]
    secret = engine.paths.data / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    path.symlink_to(secret)
    assert client.get(image["url"]).status_code == 404


def test_a_damaged_picture_has_no_thumbnail(client: TestClient, engine: Engine):
    image = ended(client, engine, sent(client)["id"])["images"][0]
    next(engine.paths.outputs.rglob("*.png")).write_bytes(b"nothing")
    assert client.get(f"/internal/images/{image['id']}/thumbnail").status_code == 404


def test_an_unknown_field_task_or_sampler_is_refused_with_the_nearest_names(client: TestClient):
    answers = [
        client.post("/api/v1/jobs", json={**SMALL, **wrong})
        for wrong in (
            {"stepps": 3},
            {"task": "txt2imgs"},
            {"task": ["txt2img"]},
            {"sampler_name": "Eulr"},
            {"steps": 0},
        )
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 404, 422]
    told = " ".join(answer.json()["detail"] for answer in answers)
    assert (
        "There is no field 'stepps'." in told
        and "Did you mean 'txt2img'" in told
        and "'Euler'" in told
    )


def test_a_job_may_bring_a_picture(client: TestClient, engine: Engine):
    write_listed_depth(engine.paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, format="PNG")
    coded = base64.b64encode(buffer.getvalue()).decode()
    job = sent(client, task="depth2img", init_image=coded, sd_model_checkpoint="depth")
    assert "init_image" not in job["request"], "pictures are not sent back"
    assert ended(client, engine, job["id"])["state"] == "done"


def test_jobs_are_listed_running_then_waiting_then_ended(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    done = sent(client)["id"]
    ended(client, engine, done)
    executor.hold_at(2)
    running = sent(client)["id"]
    assert executor.held.wait(PATIENCE_S)
    waiting = [sent(client)["id"] for _ in range(2)]
    listed = client.get("/api/v1/jobs").json()
    assert [job["id"] for job in listed["jobs"]] == [running, *waiting, done]
    assert (listed["paused"], listed["waiting_count"]) == (False, 2)
    assert [job["id"] for job in client.get("/api/v1/jobs?state=ended").json()["jobs"]] == [done]
    assert [
        job["id"] for job in client.get("/api/v1/jobs?state=waiting&limit=1").json()["jobs"]
    ] == [running, waiting[0]]


def test_a_job_is_cancelled_moved_and_tried_again(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    running = sent(client)["id"]
    assert executor.held.wait(PATIENCE_S)
    first, second = (sent(client, prompt=word)["id"] for word in ("first", "second"))
    assert client.post(f"/api/v1/jobs/{second}/move/up").json()["state"] == "queued"
    assert client.post(f"/api/v1/jobs/{second}/move/sideways").status_code == 422
    assert client.delete(f"/api/v1/jobs/{first}").json()["state"] == "cancelled"
    assert client.delete(f"/api/v1/jobs/{first}").json()["state"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{running}/retry").status_code == 422
    executor.release()
    ended(client, engine, second)
    again = client.post(f"/api/v1/jobs/{first}/retry").json()["id"]
    ended(client, engine, again)
    assert executor.seen == ["a cat", "second", "first"]


def test_a_job_is_stopped_after_the_picture_it_is_at(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job_id = sent(client, n_iter=3)["id"]
    assert executor.held.wait(PATIENCE_S)
    client.delete(f"/api/v1/jobs/{job_id}?after_picture=true")
    executor.release()
    told = ended(client, engine, job_id)
    assert (told["state"], len(told["images"])) == ("cancelled", 1)


def test_the_queue_pauses_and_goes_on(client: TestClient, engine: Engine):
    assert client.post("/api/v1/queue/pause").json() == {"paused": True}
    job_id = sent(client)["id"]
    assert client.get(f"/internal/jobs/{job_id}").json()["phase"] == "Waiting: the queue is paused"
    assert client.post("/api/v1/queue/resume").json() == {"paused": False}
    assert ended(client, engine, job_id)["state"] == "done"


def test_an_unknown_job_is_a_404_in_words(client: TestClient):
    for answer in (
        client.get("/api/v1/jobs/x"),
        client.delete("/api/v1/jobs/x"),
        client.post("/api/v1/jobs/x/retry"),
        client.post("/api/v1/jobs/x/move/up"),
        client.get("/api/v1/jobs/x/events"),
    ):
        assert answer.status_code == 404
        assert "no longer known" in answer.json()["detail"]


def test_events_carry_progress_and_previews(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.job(sent(client)["id"])
    assert executor.held.wait(PATIENCE_S)
    job.watch()
    executor.release()
    assert job.wait(PATIENCE_S)
    told = events(client, job.id)
    assert (told[-1]["state"], told[-1]["fraction"], told[-1]["images"]) == ("done", 1.0, 1)
    previews = [one["image"] for one in told if "image" in one]
    assert [preview.partition(",")[0] for preview in previews] == ["data:image/jpeg;base64"]


def test_a_job_that_the_disk_refused_is_told_all_the_same(client: TestClient, engine: Engine):
    engine.queue.store.close()  # as a full disk does, it takes no row
    job_id = sent(client)["id"]
    told = ended(client, engine, job_id)
    assert (told["state"], told["request"]["prompt"]) == ("done", "a cat")
