from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from modules.engine.executors import WorkerStatus
from tests.engine.fake_executor import FakeExecutor

BUSY = WorkerStatus("cuda:0", "one", "GPU", "busy", activity="Sampling", job_id="j")
LOST = WorkerStatus("cuda:1", "one", "GPU", "lost", "It was killed.")
REFUSED = WorkerStatus("cpu", "two", "", "refused", "It is of another version.")


def get(client: TestClient, path: str) -> dict[str, Any]:
    return client.get(f"/internal/{path}").json()


def test_one_device_is_no_list_of_workers(client: TestClient, executor: FakeExecutor):
    assert get(client, "workers") == {"workers_text": "", "workers": []}
    state = get(client, "state")
    assert (state["workers"], state["phase"]) == ("", "ready")


def test_several_workers_are_listed_with_what_they_do(client: TestClient, executor: FakeExecutor):
    executor.worker_list = [BUSY, LOST, REFUSED]
    listed = get(client, "workers")
    assert listed["workers_text"] == "3 workers: 1 busy, 1 lost, 1 refused"
    assert [worker["activity"] or worker["reason"] for worker in listed["workers"]] == [
        "Sampling",
        "It was killed.",
        "It is of another version.",
    ]
    queue = get(client, "queue")
    assert {name: queue[name] for name in listed} == listed
    assert get(client, "state")["workers"] == listed["workers_text"]
    assert get(client, "state")["phase"] == "ready"


def test_the_state_says_why_no_worker_is_there(client: TestClient, executor: FakeExecutor):
    executor.worker_list = [LOST, LOST, REFUSED]
    state = get(client, "state")
    assert (state["phase"], state["text"]) == (
        "failed",
        "No worker is there: It was killed. It is of another version.",
    )
    executor.worker_list = [LOST]  # of a pool: a device of this process cannot be lost
    assert get(client, "state")["workers"] == "1 worker: 1 lost"
