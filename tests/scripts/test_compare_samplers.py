from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import Recording
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor, record

REQUEST = Txt2ImgRequest(width=64, height=64, steps=4, sampler_name="Euler", n_iter=2)
RECORDING = Recording((), np.zeros(4, np.float32), np.linspace(0.03, 14.6, 10))
StartEngine = Callable[..., tuple[Engine, FakeExecutor]]


@pytest.fixture
def start_recorder(start_engine: StartEngine) -> StartEngine:
    """Starts engines one after another, on a device that records."""
    return partial(start_engine, prepare=partial(record, RECORDING))


def compare(engine: Engine) -> JobGroup:
    return engine.run_script("Compare samplers", REQUEST, {"other_sampler": "Heun"})


def kill(engine: Engine) -> None:
    """Leave the job store as a killed server does: nothing is written any more."""
    engine.queue.store.close()


def stop_before(engine: Engine, executor: FakeExecutor, end: Callable[[Engine], None]) -> str:
    engine.queue.pause()
    group = compare(engine)
    while len(engine.queue.store.active_jobs(9)) < 2:
        assert not group.wait(0.01)
    return stop(engine, group, end)


def stop_in_the_first(engine: Engine, executor: FakeExecutor, end: Callable[[Engine], None]) -> str:
    executor.hold_at(2)
    executor.release_at_stop()
    group = compare(engine)
    assert executor.held.wait(PATIENCE_S)
    return stop(engine, group, end)


def stop_between(engine: Engine, executor: FakeExecutor, end: Callable[[Engine], None]) -> str:
    executor.hold_at(1)
    executor.release_at_stop()
    group = compare(engine)
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(1)
    assert executor.held.wait(PATIENCE_S)
    return stop(engine, group, end)


def stop_after(engine: Engine, executor: FakeExecutor, end: Callable[[Engine], None]) -> str:
    """Leave the store as a stop does between the end of the last cell and that of the group."""
    group = compare(engine)
    assert group.wait(PATIENCE_S)
    stop(engine, group, end)
    with closing(sqlite3.connect(engine.paths.queue / "jobs.sqlite")) as connection, connection:
        connection.execute("UPDATE groups SET state = 'running', ended = NULL")
    return group.id


def stop(engine: Engine, group: JobGroup, end: Callable[[Engine], None]) -> str:
    end(engine)
    group.interrupt()
    engine.stop()
    return group.id


def saved_files(engine: Engine) -> list[Path]:
    return sorted(engine.paths.outputs.rglob("*.png"))


def image_rows(engine: Engine) -> list[Any]:
    with closing(sqlite3.connect(engine.paths.queue / "jobs.sqlite")) as connection:
        return connection.execute("SELECT path FROM images").fetchall()


@pytest.mark.parametrize("end", [kill, Engine.stop], ids=["killed", "stopped"])
@pytest.mark.parametrize(
    "stop_comparison", [stop_before, stop_in_the_first, stop_between, stop_after]
)
def test_a_comparison_goes_on_after_a_restart_with_both_recordings_and_no_image_twice(
    start_recorder: StartEngine,
    stop_comparison: Callable[..., str],
    end: Callable[[Engine], None],
):
    engine, executor = start_recorder()
    group_id = stop_comparison(engine, executor, end)
    finished = {path: path.stat().st_mtime_ns for path in saved_files(engine)}

    engine, executor = start_recorder()
    group = engine.job(group_id)
    assert isinstance(group, JobGroup)
    assert group.wait(PATIENCE_S)
    status = group.status()
    assert (status.state, status.error, group.errors) == ("done", "", ())
    assert list(group.recorded_jobs) == ["Euler", "Heun"]
    assert [job.take_recording() for job in group.recorded_jobs.values()] == [RECORDING] * 2
    assert ["Euler" in image.infotext for image in status.images] == [True, False]
    assert len({image.seed for image in status.images}) == 1
    assert status.progress.fraction == 1
    assert sorted(image.path for image in status.images) == saved_files(engine)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    engine.stop()
    assert len(image_rows(engine)) == 2
    assert start_recorder()[0].status(group_id).images == status.images


def test_a_comparison_goes_on_after_a_second_restart_while_its_recording_is_made_again(
    start_recorder: StartEngine,
):
    engine, executor = start_recorder()
    group_id = stop_between(engine, executor, kill)
    engine, executor = start_recorder(queue_after_restart="paused")
    executor.hold_at(2)
    executor.release_at_stop()
    engine.queue.resume()
    assert executor.held.wait(PATIENCE_S)
    group = engine.job(group_id)
    assert isinstance(group, JobGroup)
    stop(engine, group, kill)

    engine, executor = start_recorder()
    group = engine.job(group_id)
    assert isinstance(group, JobGroup)
    assert group.wait(PATIENCE_S)
    assert [job.take_recording() for job in group.recorded_jobs.values()] == [RECORDING] * 2
    status = group.status()
    assert sorted(image.path for image in status.images) == saved_files(engine)
    assert [image.seed for image in status.images] == [status.images[0].seed] * 2


def test_a_recording_that_cannot_be_made_again_is_an_error_and_keeps_the_image(
    start_recorder: StartEngine,
):
    engine, executor = start_recorder()
    group_id = stop_after(engine, executor, Engine.stop)
    engine, executor = start_recorder(queue_after_restart="paused")
    executor.failures.append(UserError("Too large."))
    engine.queue.resume()
    group = engine.job(group_id)
    assert isinstance(group, JobGroup)
    assert group.wait(PATIENCE_S)
    assert group.errors == ("Too large.",)
    assert sorted(image.path for image in group.status().images) == saved_files(engine)
