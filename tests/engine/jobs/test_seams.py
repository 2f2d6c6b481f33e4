"""An unexpected exception at every seam of the queue: the job ends, whoever waits is told, and the next job runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from modules.engine.engine import Engine
from modules.engine.jobs.database.database import Database
from modules.engine.jobs.job_status import JobStatus
from modules.params.events import Output, Phase, Progress
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.engine.jobs.test_queue import INPUT_IMAGE

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7)
HALF = "half a character: \ud83d"

# Every call that leaves the queue, and what becomes of the job whose call fails; "" for a request that is refused.
SEAMS = {
    "queue.store.hold_request": "",
    "queue.store.add": "",
    "queue.make_plan": "",
    "queue.store.log_start": "done",
    "queue.store.log_image": "done",
    "queue.store.log_end": "done",
    "queue.store.input_image": "failed",
    "queue._on_success": "done",
    "image_saver.save": "failed",
    "image_saver.save_grid": "done",
    "executor.submit": "failed",
    "executor.work": "failed",
}


class Failing:
    """A function that fails the first time, and is the replaced one from then on."""

    def __init__(self, replaced: Callable[..., Any], error: BaseException) -> None:
        self.count = 0
        self._replaced, self._error = replaced, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        if self.count == 1:
            raise self._error
        return self._replaced(*args, **kwargs)


def fail_once(engine: Engine, seam: str, error: BaseException) -> Failing:
    """Have a seam fail once."""
    owner: Any = engine
    *path, name = seam.split(".")
    for part in path:
        owner = getattr(owner, part)
    failing = Failing(getattr(owner, name), error)
    setattr(owner, name, failing)
    return failing


def run(engine: Engine, request: GenerationRequest) -> JobStatus:
    job = engine.submit(request)
    assert job.wait(PATIENCE_S), "the job never ends"
    return job.status()


def run_or_refuse(engine: Engine, request: GenerationRequest) -> str:
    try:
        return run(engine, request).state
    except ValueError:
        return ""


@pytest.mark.parametrize("seam", SEAMS)
def test_after_an_error_at_any_seam_the_next_job_runs(
    engine: Engine, executor: FakeExecutor, seam: str
):
    if seam == "executor.work":
        executor.failures = [ValueError(HALF)]
        failing = None
    else:
        failing = fail_once(engine, seam, ValueError(HALF))
    request = Img2ImgRequest(prompt="a dog", width=64, height=64, steps=2, init_image=INPUT_IMAGE)
    assert run_or_refuse(engine, request) == SEAMS[seam]
    assert failing is None or failing.count, "the seam was not passed"
    executor.wait_until_idle()
    assert not engine.queue.running_jobs()
    assert run(engine, SMALL).state == "done"
    assert engine.queue.store.waiting_count() == 0


@pytest.mark.parametrize("name", ["log_start", "log_image", "log_end"])
def test_a_job_that_is_not_stored_says_so(engine: Engine, name: str):
    fail_once(engine, f"queue.store.{name}", ValueError(HALF))
    assert run(engine, SMALL).state == "done"
    assert engine.jobs()[-1].status().notes == (
        "The job could not be stored; the log has the details.",
    )


def test_a_request_that_is_refused_leaves_no_job_behind(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    running = engine.submit(SMALL)
    fail_once(engine, "queue.store.add", ValueError(HALF))
    with pytest.raises(ValueError, match="half a character"):
        engine.submit(SMALL.replace(prompt="a ghost"))
    assert engine.jobs() == [running]
    executor.release()
    assert running.wait(PATIENCE_S)
    assert executor.seen == ["a cat"]


def test_the_error_of_a_job_is_stored_sent_and_shown(engine: Engine, executor: FakeExecutor):
    executor.failures = [ValueError(HALF)]
    status = run(engine, SMALL)
    expected = "Internal error: ValueError: half a character: \\ud83d. The log has the details."
    assert status.error == expected
    assert engine.queue.record(status.id).error == expected
    json.dumps(status.notes, ensure_ascii=False).encode()


@pytest.mark.parametrize("event", [Phase(HALF), Output("image", "no image"), Output(HALF, None)])
def test_odd_events_end_at_most_their_job(engine: Engine, executor: FakeExecutor, event: Any):
    draw = executor._draw

    def draw_oddly(plan: Any, sink: Any, cancel: Any) -> None:
        sink(Progress(0, 1))
        sink(event)
        draw(plan, sink, cancel)

    executor._handlers[type(engine.planner.plan(SMALL, engine.settings))] = draw_oddly
    status = run(engine, SMALL)
    json.dumps([status.error, status.notes, status.phase], ensure_ascii=False).encode()
    executor.wait_until_idle()
    assert engine.queue.running_jobs() == []


def test_an_error_of_one_listener_is_kept_from_the_others(engine: Engine, executor: FakeExecutor):
    called: list[str] = []
    executor.hold_at(1)
    job = engine.submit(SMALL)
    job.add_done_callback(lambda: 1 / 0)
    job.add_done_callback(lambda: called.append("second"))
    executor.release()
    assert job.wait(PATIENCE_S)
    executor.wait_until_idle()
    assert called == ["second"]
    assert run(engine, SMALL).state == "done"


def test_a_cancelled_job_whose_end_is_not_stored_has_ended(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    engine.submit(SMALL)
    waiting = engine.submit(SMALL)
    fail_once(engine, "queue.store.log_end", ValueError(HALF))
    waiting.interrupt()
    assert waiting.wait(PATIENCE_S)
    executor.release()


def test_a_load_that_is_not_accepted_lets_jobs_run(engine: Engine):
    fail_once(engine, "executor.submit", ValueError(HALF))
    engine.select_checkpoint("second")
    assert engine.device_status.phase == "failed"
    assert run(engine, SMALL).state == "done"


def test_an_error_at_the_start_of_the_device_lets_jobs_run(
    idle_engine: Engine, executor: FakeExecutor
):
    fail_once(idle_engine, "groups.resume", ValueError(HALF))
    idle_engine.start()
    executor.wait_until_idle()
    assert "Internal error: ValueError" in idle_engine.device_status.text
    assert run(idle_engine, SMALL).state == "done"


def test_jobs_of_the_last_run_that_cannot_be_planned_do_not_stop_the_start(
    start_engine: Callable[..., Any],
):
    first, _ = start_engine()
    first.queue.pause()
    jobs = [first.submit(SMALL), first.submit(SMALL)]
    first.stop()

    def prepare(engine: Engine) -> None:
        fail_once(engine, "queue.make_plan", ValueError(HALF))

    second, _ = start_engine(prepare=prepare, queue_after_restart="resumed")
    assert second.queue.job(jobs[1].id).wait(PATIENCE_S)
    assert "Internal error: ValueError" in second.status(jobs[0].id).error


def test_a_row_that_cannot_be_read_does_not_stop_the_start(start_engine: Callable[..., Any]):
    first, _ = start_engine()
    first.queue.pause()
    jobs = [first.submit(SMALL), first.submit(SMALL)]
    first.queue.store._database.write(
        "UPDATE jobs SET notes = 'no JSON' WHERE id = ?", (jobs[0].id,)
    )
    first.stop()
    second, _ = start_engine(queue_after_restart="resumed")
    assert second.queue.job(jobs[1].id).wait(PATIENCE_S)


# Groups


def run_two(request: GenerationRequest, args: Any) -> ScriptRun:
    def fail() -> GenerationRequest:
        raise ZeroDivisionError(HALF)

    one = yield [Cell("one \ud800", lambda: request.replace(prompt="one"))]
    two = yield [Cell("two", fail)]
    three = yield [Cell("three", lambda: request.replace(prompt="three"))]
    return ScriptResult(notes=(HALF, *(result.state for result in (*one, *two, *three))))


def run_exiting(request: GenerationRequest, args: Any) -> ScriptRun:
    yield [Cell("one", lambda: request)]
    raise SystemExit(HALF)


@pytest.fixture
def scripted(engine: Engine) -> Engine:
    engine.registries.scripts.add(Script("Two", run_two))
    engine.registries.scripts.add(Script("Exiting", run_exiting))
    return engine


def run_group(engine: Engine, script: str) -> JobStatus:
    group = engine.run_script(script, SMALL, {})
    assert group.wait(PATIENCE_S), "the group never ends"
    return group.status()


def test_a_bug_in_one_cell_is_a_note_and_the_rest_goes_on(scripted: Engine):
    status = run_group(scripted, "Two")
    assert (status.state, len(status.images)) == ("done", 2)
    assert status.notes == (
        "two: Internal error: ZeroDivisionError: half a character: \\ud83d. The log has the details.",
        "half a character: \\ud83d",
        "done",
        "failed",
        "done",
    )


def test_a_script_that_ends_the_program_fails_alone(scripted: Engine):
    assert run_group(scripted, "Exiting").state == "failed"
    assert run(scripted, SMALL).state == "done"


@pytest.mark.parametrize(
    "seam",
    [
        "queue.store.groups.log_attempt",
        "queue.store.groups.log_end",
        "queue.store.groups.images",
        "queue.store.groups.attempts",
        "queue.store.release_group",
        "queue.store.log_end",
        "queue.store.add",
        "image_saver.save",
        "executor.submit",
    ],
)
def test_a_group_ends_after_an_error_at_any_seam(scripted: Engine, seam: str):
    failing = fail_once(scripted, seam, ValueError(HALF))
    status = run_group(scripted, "Two")
    assert failing.count
    assert status.has_ended
    json.dumps([status.error, status.notes], ensure_ascii=False).encode()
    assert run(scripted, SMALL).state == "done"


# The database

ODD_VALUES = [HALF, 2**64, -(2**63) - 1, object(), "nul \0", 10**400]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_no_value_makes_the_database_raise(engine: Engine, value: object):
    database: Database = engine.queue.store._database
    database.write("UPDATE jobs SET error = ? WHERE id = 'x'", (value,))
    assert database.select("SELECT * FROM jobs WHERE id = ?", (value,)) == []
    assert run(engine, SMALL).state == "done"


def test_a_table_that_is_gone_does_not_make_the_database_raise(engine: Engine):
    connection: sqlite3.Connection = engine.queue.store._database.open().connection
    connection.execute("DROP TABLE images")
    assert run(engine, SMALL).state == "done"
    assert "cannot be stored" in engine.queue.store.warning()
