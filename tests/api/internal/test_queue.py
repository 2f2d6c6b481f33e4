from __future__ import annotations

from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7)


def overview(client: TestClient) -> dict:
    return client.get("/internal/queue").json()


def test_the_overview_lists_running_waiting_and_past_jobs(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    assert engine.submit(SMALL).wait(PATIENCE_S)
    executor.hold_at(3)
    engine.submit(SMALL, "page")
    assert executor.held.wait(PATIENCE_S)
    waiting = engine.submit(SMALL.replace(prompt="next"))
    listing = overview(client)
    running, queued = listing["jobs"]
    assert (running["state"], running["step"], running["steps"], running["source"]) == (
        "running",
        2,
        4,
        "page",
    )
    assert (queued["id"], queued["prompt"], queued["width"]) == (waiting.id, "next", 64)
    assert (listing["waiting"], listing["paused"], listing["remark"]) == (1, False, "")
    assert [len(past["images"]) for past in listing["past"]] == [1]


def test_reading_the_queue_turns_previews_on(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    overview(client)
    executor.release()
    assert job.wait(PATIENCE_S)
    assert client.get(f"/internal/jobs/{job.id}/preview").content


def test_the_tabs_actions_move_cancel_finish_pause_and_retry_jobs(
    client: TestClient, engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    running = engine.submit(SMALL.replace(n_iter=2))
    assert executor.held.wait(PATIENCE_S)
    one, two, three = (
        engine.submit(SMALL.replace(prompt=word)) for word in ("one", "two", "three")
    )
    client.post(f"/internal/jobs/{three.id}/move/front")
    assert client.get(f"/internal/jobs/{three.id}").json()["phase"] == "Waiting: 1 job comes first"
    assert client.get(f"/internal/jobs/{two.id}").json()["phase"] == "Waiting: 3 jobs come first"
    client.post(f"/internal/jobs/{two.id}/interrupt")
    client.post(f"/internal/jobs/{running.id}/finish")
    client.post("/internal/queue/pause")
    executor.release()
    assert running.wait(PATIENCE_S)
    assert (overview(client)["paused"], one.status().state) == (True, "queued")
    client.post("/internal/queue/resume")
    assert one.wait(PATIENCE_S)
    retried = client.post(f"/internal/jobs/{two.id}/retry").json()["id"]
    assert engine.job(retried).wait(PATIENCE_S)
    assert executor.seen == ["a cat", "three", "one", "two"]
    assert len(running.status().images) == 1


def test_one_call_cancels_all_jobs(client: TestClient, engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    jobs = [engine.submit(SMALL) for _ in range(3)]
    assert executor.held.wait(PATIENCE_S)
    client.post("/internal/queue/cancel")
    executor.release()
    assert [job.wait(PATIENCE_S) and job.status().state for job in jobs] == ["cancelled"] * 3
    assert overview(client)["jobs"] == []


def test_the_page_finds_a_job_of_an_earlier_run(client: TestClient, engine: Engine):
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    del engine.queue._jobs[job.id]  # as after a restart
    assert client.get(f"/internal/jobs/{job.id}").json()["images"] == 1
    with client.stream("GET", f"/internal/jobs/{job.id}/events") as response:
        assert sum(line.startswith("data: ") for line in response.iter_lines()) == 1
