from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.engine.engine import Engine
from modules.params.requests.tasks import TASKS
from modules.plan.jobs.kinds import JOB_KINDS
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


def submit(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/jobs", json={**SMALL, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()


def wait_for(client: TestClient, engine: Engine, job_id: str) -> dict[str, Any]:
    assert engine.job(job_id).wait(PATIENCE_S)
    return client.get(f"/api/v1/jobs/{job_id}").json()


def events(client: TestClient, job_id: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def test_a_job_is_answered_at_once_and_read_by_its_id(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(3)
    job = submit(client, n_iter=2)
    assert executor.held.wait(PATIENCE_S)
    running = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (running["state"], running["source"], running["task"], running["progress"]) == (
        "running",
        "api",
        "txt2img",
        0.25,
    )
    assert running["request"]["prompt"] == "a cat"
    assert running["checkpoint"] == "first.safetensors"
    executor.release()
    ended = wait_for(client, engine, job["id"])
    assert (ended["state"], [image["seed"] for image in ended["images"]]) == ("done", [7, 8])
    assert "Seed: 8" in ended["images"][1]["infotext"]


def test_seeds_that_javascript_would_round_are_text(client: TestClient, engine: Engine):
    for seed in (2**64 - 2, str(2**64 - 2)):
        job = wait_for(client, engine, submit(client, seed=seed, n_iter=2)["id"])
        assert [image["seed"] for image in job["images"]] == [str(2**64 - 2), str(2**64 - 1)]
        assert job["request"]["seed"] == str(2**64 - 2)
        assert f"Seed: {2**64 - 1}" in job["images"][1]["infotext"]
    answer = client.post("/api/v1/jobs", json={**SMALL, "seed": 2**64})
    assert answer.status_code == 422
    assert f"Seed is {2**64}; the largest valid value is {2**64 - 1}." in answer.text


def test_the_body_is_described_by_the_declared_fields(client: TestClient):
    schema = client.get("/openapi.json").json()
    fields = schema["components"]["schemas"]["JobBody"]["properties"]
    assert fields["task"]["enum"] == [*TASKS.names(), *JOB_KINDS.names()]
    assert fields["discard_weights"]["description"] and fields["upscaler_1"]["description"]
    assert fields["steps"]["anyOf"][0]["maximum"] == 1000 and fields["depth_map"]["description"]
    assert "/api/v1/images/{image_id}" in schema["paths"]


def test_an_image_is_served_by_its_id(client: TestClient, engine: Engine):
    image = wait_for(client, engine, submit(client)["id"])["images"][0]
    answer = client.get(image["url"])
    assert (answer.headers["content-type"], "immutable" in answer.headers["cache-control"]) == (
        "image/png",
        True,
    )
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert (opened.size, opened.getpixel((0, 0))) == ((64, 64), (7, 0, 0))
    thumbnail = client.get(f"/internal/images/{image['id']}/thumbnail")
    with Image.open(io.BytesIO(thumbnail.content)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (64, 64))


@pytest.mark.parametrize(
    "name",
    ["x", "x.0", "{id}.1", "{id}.-1", "{id}.²", "{id}", "..%2f..%2fconfig.json", "{id}.99999999"],
)
def test_an_unknown_image_id_is_a_404(client: TestClient, engine: Engine, name: str):
    job_id = submit(client)["id"]
    wait_for(client, engine, job_id)
    answer = client.get(f"/api/v1/images/{name.format(id=job_id)}")
    assert answer.status_code == 404


def test_no_file_outside_the_outputs_is_served(client: TestClient, engine: Engine):
    image = wait_for(client, engine, submit(client)["id"])["images"][0]
    path = next(engine.paths.outputs.rglob("*.png"))
    path.unlink()
    assert "no longer in the outputs" in client.get(image["url"]).json()["detail"]
    secret = engine.paths.data / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    path.symlink_to(secret)
    assert client.get(image["url"]).status_code == 404


def test_a_damaged_image_has_no_thumbnail(client: TestClient, engine: Engine):
    image = wait_for(client, engine, submit(client)["id"])["images"][0]
    next(engine.paths.outputs.rglob("*.png")).write_bytes(b"nothing")
    assert client.get(f"/internal/images/{image['id']}/thumbnail").status_code == 404


def test_an_unknown_field_task_or_sampler_is_refused_with_similar_names(client: TestClient):
    answers = [
        client.post("/api/v1/jobs", json={**SMALL, **invalid})
        for invalid in (
            {"stepps": 3},
            {"task": "txt2imgs"},
            {"task": ["txt2img"]},
            {"sampler_name": "Eulr"},
            {"steps": 0},
        )
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 404, 422]
    details = " ".join(answer.json()["detail"] for answer in answers)
    assert (
        "There is no field 'stepps'." in details
        and "Did you mean 'txt2img'" in details
        and "'Euler'" in details
    )


def test_a_job_may_have_an_init_image(client: TestClient, engine: Engine):
    write_listed_depth(engine.paths.checkpoint_folders[0] / "depth.safetensors")
    engine.models.refresh()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, format="PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    job = submit(client, task="depth2img", init_image=encoded, sd_model_checkpoint="depth")
    assert "init_image" not in job["request"], "images are not sent back"
    assert wait_for(client, engine, job["id"])["state"] == "done"


def test_jobs_are_listed_running_then_waiting_then_ended(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    done = submit(client)["id"]
    wait_for(client, engine, done)
    executor.hold_at(2)
    running = submit(client)["id"]
    assert executor.held.wait(PATIENCE_S)
    waiting = [submit(client)["id"] for _ in range(2)]
    listing = client.get("/api/v1/jobs").json()
    assert [job["id"] for job in listing["jobs"]] == [running, *waiting, done]
    assert (listing["paused"], listing["waiting_count"]) == (False, 2)
    assert [job["id"] for job in client.get("/api/v1/jobs?state=ended").json()["jobs"]] == [done]
    assert [
        job["id"] for job in client.get("/api/v1/jobs?state=waiting&limit=1").json()["jobs"]
    ] == [running, waiting[0]]


def test_a_job_is_cancelled_moved_and_retried(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    running = submit(client)["id"]
    assert executor.held.wait(PATIENCE_S)
    first, second = (submit(client, prompt=word)["id"] for word in ("first", "second"))
    assert client.post(f"/api/v1/jobs/{second}/move/up").json()["state"] == "queued"
    assert client.post(f"/api/v1/jobs/{second}/move/sideways").status_code == 422
    assert client.delete(f"/api/v1/jobs/{first}").json()["state"] == "cancelled"
    assert client.delete(f"/api/v1/jobs/{first}").json()["state"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{running}/retry").status_code == 422
    executor.release()
    wait_for(client, engine, second)
    retried = client.post(f"/api/v1/jobs/{first}/retry").json()["id"]
    wait_for(client, engine, retried)
    assert executor.seen == ["a cat", "second", "first"]


def test_a_job_is_stopped_after_its_current_image(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job_id = submit(client, n_iter=3)["id"]
    assert executor.held.wait(PATIENCE_S)
    client.delete(f"/api/v1/jobs/{job_id}?after_picture=true")
    executor.release()
    job = wait_for(client, engine, job_id)
    assert (job["state"], len(job["images"])) == ("cancelled", 1)


def test_the_queue_pauses_and_resumes(client: TestClient, engine: Engine):
    assert client.post("/api/v1/queue/pause").json() == {"paused": True}
    job_id = submit(client)["id"]
    assert client.get(f"/internal/jobs/{job_id}").json()["phase"] == "Waiting: the queue is paused"
    assert client.post("/api/v1/queue/resume").json() == {"paused": False}
    assert wait_for(client, engine, job_id)["state"] == "done"


def test_an_unknown_job_is_a_404_with_a_sentence(client: TestClient):
    for answer in (
        client.get("/api/v1/jobs/x"),
        client.delete("/api/v1/jobs/x"),
        client.post("/api/v1/jobs/x/retry"),
        client.post("/api/v1/jobs/x/move/up"),
        client.get("/api/v1/jobs/x/events"),
    ):
        assert answer.status_code == 404
        assert "no longer known" in answer.json()["detail"]


def test_events_contain_progress_and_previews(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.job(submit(client)["id"])
    assert executor.held.wait(PATIENCE_S)
    job.watch()
    executor.release()
    assert job.wait(PATIENCE_S)
    messages = events(client, job.id)
    last = messages[-1]
    assert (last["state"], last["fraction"], last["images"]) == ("done", 1.0, 1)
    previews = [message["image"] for message in messages if "image" in message]
    assert [preview.partition(",")[0] for preview in previews] == ["data:image/jpeg;base64"]


def test_a_job_that_could_not_be_stored_is_still_listed(client: TestClient, engine: Engine):
    engine.queue.store.close()  # as with a full disk, no row can be written
    job_id = submit(client)["id"]
    job = wait_for(client, engine, job_id)
    assert (job["state"], job["request"]["prompt"]) == ("done", "a cat")


def test_a_side_is_rounded_down_to_a_multiple_of_8_with_a_warning(client: TestClient):
    answer = client.post("/api/v1/jobs", json={**SMALL, "width": 100, "height": "71"}).json()
    assert (answer["request"]["width"], answer["request"]["height"]) == (96, 64)
    assert answer["warnings"] == ["100x71 is rounded to 96x64: sides are multiples of 8."]
