"""Jobs that generate no images: queued, followed, cancelled, retried, listed and restored like those that do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.core.errors import Cancelled, UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_status import JobStatus
from modules.params.events import CancelToken, Note, Phase, Progress, Sink
from modules.params.param import param
from modules.params.requests.job_request import JobRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.jobs.kinds import JobKind, PlanSources
from modules.scripts.protocol import Cell, NoArguments, Script, ScriptResult, ScriptRun
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)


class CountRequest(JobRequest):
    """Counts checkpoints."""

    up_to: int = param(3, "Up to", help="A larger number counts longer.", ge=1)

    @property
    def task(self) -> str:
        """Return the name of its row."""
        return "count"


@dataclass(frozen=True, kw_only=True)
class CountPlan(JobPlan):
    """A count."""

    request: CountRequest
    available: int


def plan_count(request: CountRequest, settings: Settings, sources: PlanSources) -> CountPlan:
    """Return the plan of a count."""
    available = len(sources.models.checkpoints())
    if request.up_to > 100:
        raise UserError(f"{request.up_to} is too much to count.", "Count to 100 at most.")
    return CountPlan(request=request, settings=settings, notes=("Counting.",), available=available)


def add_count(engine: Engine, executor: FakeExecutor) -> None:
    """Add the kind of job to an engine, and its function to the device."""

    def count(plan: CountPlan, sink: Sink, cancel: CancelToken) -> None:
        sink(Phase("Counting"))
        for note in plan.notes:
            sink(Note(note))
        for number in range(1, plan.request.up_to + 1):
            executor._pause(number)
            if cancel.is_interrupted():
                raise Cancelled("The job was interrupted.")
            sink(Progress(number, plan.request.up_to))
        sink(Note(f"Counted to {plan.request.up_to} of {plan.available}."))

    engine.registries.job_kinds.add(JobKind("count", CountRequest, plan_count))
    executor._handlers[CountPlan] = count


@pytest.fixture
def counting(engine: Engine, executor: FakeExecutor) -> Engine:
    add_count(engine, executor)
    return engine


def run(engine: Engine, request: JobRequest) -> JobStatus:
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    return job.status()


def test_a_job_without_images_is_done_with_its_notes(counting: Engine):
    status = run(counting, CountRequest())
    assert (status.state, status.images, status.image_count) == ("done", (), 0)
    assert status.notes == ("Counting.", "Counted to 3 of 2.")
    assert status.progress == Progress(3, 3)
    assert counting.queue.record(status.id).status().notes == status.notes
    assert run(counting, SMALL).state == "done"


def test_one_that_cannot_be_planned_is_refused_and_leaves_nothing(counting: Engine):
    with pytest.raises(UserError, match=r"101 is too much to count\. Count to 100 at most\."):
        counting.submit(CountRequest(up_to=101))
    assert counting.jobs() == []


def test_it_is_cancelled_while_it_waits_and_while_it_runs(counting: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    running, waiting = (counting.submit(CountRequest()) for _ in range(2))
    assert executor.held.wait(PATIENCE_S)
    waiting.interrupt()
    assert waiting.wait(PATIENCE_S)
    running.interrupt()
    executor.release()
    assert running.wait(PATIENCE_S)
    for job in (running, waiting):
        status = job.status()
        assert (status.state, status.error) == ("cancelled", "Interrupted.")


def test_page_and_api_list_stop_and_retry_it(counting: Engine, executor: FakeExecutor):
    app = FastAPI()
    add_routes(app, counting)
    executor.hold_at(2)
    with TestClient(app) as client:
        sent = client.post("/api/v1/jobs", json={"task": "count", "up_to": 5}).json()
        refused = client.post("/api/v1/jobs", json={"task": "count", "steps": 5})
        unknown = client.post("/api/v1/jobs", json={"task": "counts"})
        assert executor.held.wait(PATIENCE_S)
        (row,) = client.get("/internal/queue").json()["jobs"]
        progress = client.get("/sdapi/v1/progress").json()
        client.delete(f"/api/v1/jobs/{sent['id']}")
        executor.release()
        assert counting.job(sent["id"]).wait(PATIENCE_S)
        again = client.post(f"/api/v1/jobs/{sent['id']}/retry").json()
        assert counting.job(again["id"]).wait(PATIENCE_S)
        told = client.get(f"/api/v1/jobs/{again['id']}").json()
    assert (sent["task"], sent["request"]) == ("count", {"up_to": 5})
    assert (refused.status_code, refused.json()["detail"]) == (422, "There is no field 'steps'.")
    assert "There is no task 'counts' in this version. Did you mean 'count'" in unknown.text
    assert (row["task"], row["state"], row["phase"]) == ("count", "running", "Counting")
    assert (progress["textinfo"], progress["progress"]) == ("Counting", pytest.approx(0.2))
    assert (told["state"], told["request"], told["images"]) == ("done", {"up_to": 5}, [])


def test_while_it_waits_it_survives_a_restart_and_a_running_one_has_failed(
    start_engine: Callable[..., Any],
):
    first, executor = start_engine()
    add_count(first, executor)
    executor.hold_at(2)
    running, waiting = (first.submit(CountRequest(up_to=4)) for _ in range(2))
    assert executor.held.wait(PATIENCE_S)
    first.queue.store.close()  # as a kill leaves the file
    executor.release()
    first.stop()

    def prepare(engine: Engine) -> None:
        add_count(engine, engine.executor)  # type: ignore[arg-type]

    second, _ = start_engine(prepare=prepare, queue_after_restart="resumed")
    assert second.status(running.id).error == "The server was stopped while it ran."
    assert second.job(waiting.id).wait(PATIENCE_S)
    assert second.status(waiting.id).notes[-1] == "Counted to 4 of 2."


def test_a_waiting_one_of_a_kind_that_is_gone_fails_with_the_reason(
    start_engine: Callable[..., Any],
):
    first, executor = start_engine()
    add_count(first, executor)
    first.queue.pause()
    waiting = first.submit(CountRequest())
    first.stop()
    second, _ = start_engine()
    status = second.status(waiting.id)
    assert status.state == "failed"
    assert status.error.startswith("There is no task 'count' in this version.")


def test_a_script_may_yield_it_and_is_done_without_images(counting: Engine):
    def run_counts(request: CountRequest, args: NoArguments) -> ScriptRun:
        del args
        for up_to in (1, 2):
            yield [Cell(f"to {up_to}", lambda up_to=up_to: request.replace(up_to=up_to))]
        return ScriptResult(notes=("Both counted.",))

    counting.registries.scripts.add(Script("Counts", run_counts, cell_count=lambda _: 2))
    group = counting.run_script("Counts", CountRequest(), {})
    assert group.wait(PATIENCE_S)
    status = group.status()
    assert (status.state, status.images) == ("done", ())
    assert "to 2: Counted to 2 of 2." in status.notes
    assert status.notes[-1] == "Both counted."
