from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.engine.page.process_runs import ProcessRuns
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import RecordedStep, Recording
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor, record

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, n_iter=3, batch_size=2)
IMAGE = Image.new("RGB", (8, 8), "red")
RECORDING = Recording(
    tuple(RecordedStep(n, 2.0 - n, 10.0, IMAGE, IMAGE, IMAGE, None, 0.1) for n in range(2)),
    np.zeros(16, dtype=np.float32),
    np.linspace(0.03, 14.6, 1000),
)
StartEngine = Callable[..., tuple[Engine, FakeExecutor]]


@pytest.fixture
def start_recorder(start_engine: StartEngine) -> StartEngine:
    """Starts engines one after another, on a device that records."""
    return partial(start_engine, prepare=partial(record, RECORDING))


def start(engine: Engine, request: Txt2ImgRequest, other_sampler: str = "") -> JobGroup:
    group = engine.job(ProcessRuns(engine).start(request, other_sampler))
    assert isinstance(group, JobGroup)
    return group


def read(engine: Engine, run_id: str) -> dict[str, Any]:
    """Return the document of a run, once it has ended."""
    assert engine.job(run_id).wait(PATIENCE_S)
    return json.loads(engine.processes.read(ProcessRuns(engine).document(run_id)))


def test_two_samplers_generate_one_image_each_from_the_same_seed(engine: Engine):
    group = start(engine, SMALL.replace(sampler_name="Euler"), "Heun")
    assert group.wait(PATIENCE_S)
    jobs = group.recorded_jobs
    assert list(jobs) == ["Euler", "Heun"]
    first, second = (job.plan for job in jobs.values())
    assert first.request.seed == second.request.seed
    assert first.record
    assert second.record
    assert len(first.images) == len(second.images) == 1


def test_the_same_sampler_twice_is_one_run(engine: Engine):
    group = start(engine, SMALL.replace(sampler_name="Euler"), "Euler")
    assert group.wait(PATIENCE_S)
    assert list(group.recorded_jobs) == ["Euler"]


def test_an_interrupted_run_is_reported(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    group = start(engine, SMALL)
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt(group.id)
    executor.release()
    with pytest.raises(WebUIError, match="Interrupted: 0 of 1 pictures were finished"):
        read(engine, group.id)


def test_a_refused_run_is_an_error(engine: Engine):
    group = start(engine, SMALL.replace(sampler_name="Heun", steps=2), "Jump")
    with pytest.raises(WebUIError, match="There is no sampler named"):
        read(engine, group.id)
    assert len(group.status().images) == 1


def test_a_document_is_made_once(start_recorder: StartEngine):
    engine, _ = start_recorder()
    runs = ProcessRuns(engine)
    run = runs.start(SMALL)
    assert engine.job(run).wait(PATIENCE_S)
    assert runs.document(run) == runs.document(run)


def test_the_document_has_the_frames_and_the_schedules_with_the_runs_own_first(
    start_recorder: StartEngine,
):
    engine, _ = start_recorder()
    document = read(engine, start(engine, SMALL.replace(scheduler="Karras")).id)
    (track,) = document["tracks"]
    schedules, histogram = document["charts"]
    assert len(track["frames"]) == 2
    assert schedules["lines"][0]["name"] == "Karras"
    assert [line["name"] for line in histogram["lines"]] == ["x_T", "N(0, 1)"]
    # All 16 values are 0: one bin, as high as one over its width.
    assert max(histogram["lines"][0]["values"]) == pytest.approx(60 / 9)


def begin(engine: Engine) -> JobGroup:
    return start(engine, SMALL.replace(sampler_name="Euler", seed=5), "Heun")


def begin_in_a_paused_queue(engine: Engine, executor: FakeExecutor) -> JobGroup:
    engine.queue.pause()
    return begin(engine)


def begin_the_first(engine: Engine, executor: FakeExecutor) -> JobGroup:
    executor.hold_at(2)
    group = begin(engine)
    assert executor.held.wait(PATIENCE_S)
    return group


def finish_the_first(engine: Engine, executor: FakeExecutor) -> JobGroup:
    group = begin_the_first(engine, executor)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    return group


def kill(engine: Engine) -> None:
    """Leave the job store as a killed server does: nothing is written any more."""
    engine.queue.store.close()


@pytest.mark.parametrize("end", [kill, Engine.stop], ids=["killed", "stopped"])
@pytest.mark.parametrize("begin_some", [begin_in_a_paused_queue, begin_the_first, finish_the_first])
def test_after_a_restart_the_whole_comparison_is_there(
    start_recorder: StartEngine,
    begin_some: Callable[[Engine, FakeExecutor], JobGroup],
    end: Callable[[Engine], None],
):
    engine, executor = start_recorder()
    expected = read(engine, begin(engine).id)
    group = begin_some(engine, executor)
    executor.release_at_stop()
    end(engine)
    group.interrupt()
    engine.stop()

    engine, _ = start_recorder()
    assert read(engine, group.id) == expected


def test_a_recorded_job_has_a_document(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL, with_recording=True)
    (track,) = read(engine, job.id)["tracks"]
    assert len(track["frames"]) == 2


def test_an_image_of_a_job_is_made_again_alone(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL.replace(seed=9))
    assert job.wait(PATIENCE_S)
    again = engine.job(ProcessRuns(engine).start_again(job.id, 3))
    assert again.wait(PATIENCE_S)
    assert [image.seed for image in again.status().images] == [12]
    with pytest.raises(WebUIError):
        ProcessRuns(engine).start_again("unknown", 0)


def test_recorded_steps_that_a_restart_has_lost_are_reported(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL, with_recording=True)
    assert job.wait(PATIENCE_S)
    engine.stop()
    engine, _ = start_recorder()
    with pytest.raises(WebUIError, match="The server was restarted before the steps were shown"):
        ProcessRuns(engine).document(job.id)


def test_a_comparison_that_is_interrupted_before_the_device_is_open_is_reported(
    start_recorder: StartEngine, start_engine: StartEngine
):
    engine, _ = start_recorder()
    engine.queue.pause()
    group = start(engine, SMALL, "Heun")
    engine.stop()
    engine, _ = start_engine(has_device=False)
    engine.interrupt(group.id)
    with pytest.raises(WebUIError, match="Interrupted: 0 of 2 samplers were finished"):
        read(engine, group.id)


def test_a_hires_run_that_was_stopped_in_its_second_pass_is_reported(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL.replace(enable_hr=True, hr_scale=2), with_recording=True)
    with pytest.raises(WebUIError, match="Nothing was recorded"):  # the device recorded one pass
        read(engine, job.id)
