from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import RecordedStep, Recording
from modules.ui.forms.form import Form
from modules.ui.tabs.diffusion_process.reverse import (
    fill_from_image,
    follow_comparison,
    resume,
    start_comparison,
)
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, n_iter=3, batch_size=2)
SKIPPED = gr.skip()
TAKEN_OVER = ("prompt", "negative_prompt", "sampler_name", "steps", "cfg_scale", "width", "height")
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

    def record(engine: Engine) -> None:
        assert isinstance(engine.executor, FakeExecutor)
        engine.executor.recording = RECORDING

    return partial(start_engine, prepare=record)


def draw(engine: Engine, updates: Any) -> list[Any]:
    """Return the last update: plots as JSON, the viewer's tracks, all else as it is."""
    *_, (message, schedules, histogram, process_id, interrupt, jobs) = updates
    plots = [plot.to_json() for plot in (schedules, histogram)]
    tracks = json.loads(engine.processes.read(process_id))["tracks"]
    return [message, *plots, interrupt.interactive, tracks, jobs]


def test_two_samplers_generate_one_image_each_from_the_same_seed(engine: Engine):
    group = start_comparison(engine, SMALL.replace(sampler_name="Euler"), "Heun")
    assert group.wait(PATIENCE_S)
    jobs = group.recorded_jobs
    assert list(jobs) == ["Euler", "Heun"]
    first, second = (job.plan for job in jobs.values())
    assert first.request.seed == second.request.seed
    assert first.record
    assert second.record
    assert len(first.images) == len(second.images) == 1


def test_the_same_sampler_twice_is_one_run(engine: Engine):
    group = start_comparison(engine, SMALL.replace(sampler_name="Euler"), "Euler")
    assert group.wait(PATIENCE_S)
    assert list(group.recorded_jobs) == ["Euler"]


def test_an_interrupted_run_is_reported_and_keeps_the_figures(
    engine: Engine, executor: FakeExecutor
):
    executor.hold_at(2)
    group = start_comparison(engine, SMALL)
    assert executor.held.wait(PATIENCE_S)
    updates = follow_comparison(engine, group)
    message, *_, interrupt, running_jobs = next(updates)
    assert "Sampling" in message
    assert running_jobs == (group.id,)
    assert interrupt.interactive
    engine.interrupt(running_jobs[0])
    executor.release()
    *_, (message, *figures, interrupt, running_jobs) = updates
    assert "Interrupted: 0 of 1 pictures were finished." in message
    assert figures == [SKIPPED] * len(figures)
    assert not interrupt.interactive
    assert running_jobs == ()


def test_a_refused_run_is_an_error(engine: Engine):
    group = start_comparison(engine, SMALL.replace(sampler_name="Heun", steps=2), "Jump")
    *_, (message, *_) = follow_comparison(engine, group)
    assert "There is no sampler named" in message
    assert len(group.status().images) == 1


def begin(engine: Engine) -> JobGroup:
    return start_comparison(engine, SMALL.replace(sampler_name="Euler", seed=5), "Heun")


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
def test_after_a_restart_the_page_shows_the_figures_of_the_whole_comparison(
    start_recorder: StartEngine,
    begin_some: Callable[[Engine, FakeExecutor], JobGroup],
    end: Callable[[Engine], None],
):
    engine, executor = start_recorder()
    expected = draw(engine, follow_comparison(engine, begin(engine)))
    group = begin_some(engine, executor)
    *_, stored = next(follow_comparison(engine, group))
    executor.release_at_stop()
    end(engine)
    group.interrupt()
    engine.stop()

    engine, _ = start_recorder()
    assert draw(engine, resume(engine, list(stored))) == expected


def test_a_page_that_sees_the_server_stop_keeps_the_comparison(engine: Engine):
    group = begin_in_a_paused_queue(engine, FakeExecutor())
    updates = follow_comparison(engine, group)
    next(updates)
    engine.stop()
    *_, (message, *_, running_jobs) = updates
    assert "The server was stopped; this goes on at its next start." in message
    assert running_jobs == (group.id,)


def test_a_reloaded_page_follows_a_comparison(start_recorder: StartEngine):
    engine, executor = start_recorder()
    executor.hold_at(2)
    group = start_comparison(engine, SMALL)
    assert executor.held.wait(PATIENCE_S)
    updates = resume(engine, [group.id])
    message, *_, running_jobs = next(updates)
    assert "Sampling" in message
    assert running_jobs == (group.id,)
    executor.release()
    *_, (track,), running_jobs = draw(engine, updates)
    assert (len(track["frames"]), running_jobs) == (2, ())
    assert "Nothing was recorded" in list(resume(engine, [group.id]))[-1][0]


def test_a_reloaded_page_follows_a_recorded_job(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL, with_recording=True)
    *_, (track,), _ = draw(engine, resume(engine, [job.id]))
    assert len(track["frames"]) == 2


def test_recorded_steps_that_a_restart_has_lost_are_reported_once(start_recorder: StartEngine):
    engine, _ = start_recorder()
    group = start_comparison(engine, SMALL)
    assert group.wait(PATIENCE_S)
    engine.stop()
    engine, _ = start_recorder()
    ((message, *figures, _, running_jobs),) = resume(engine, [group.id])
    assert "The server was restarted before the steps were shown." in message
    assert figures == [SKIPPED] * len(figures)
    assert running_jobs == ()


@pytest.mark.parametrize("stored", [[], None, "x", [3]])
def test_a_page_without_a_stored_job_shows_nothing(engine: Engine, stored: Any):
    assert list(resume(engine, stored)) == []


def test_a_comparison_that_is_interrupted_before_the_device_is_open_is_reported(
    start_recorder: StartEngine, start_engine: StartEngine
):
    engine, _ = start_recorder()
    engine.queue.pause()
    group = start_comparison(engine, SMALL, "Heun")
    engine.stop()
    engine, _ = start_engine(has_device=False)
    engine.interrupt(group.id)
    ((message, *_, running_jobs),) = resume(engine, [group.id])
    assert "Interrupted: 0 of 2 samplers were finished." in message
    assert running_jobs == ()


def test_the_form_takes_over_the_image_whose_steps_are_shown(engine: Engine):
    request = SMALL.replace(negative_prompt="a dog", sampler_name="Heun", cfg_scale=3.5, seed=9)
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    form = Form(Txt2ImgRequest, engine, "process")
    with gr.Blocks():
        for name in (*TAKEN_OVER, "seed"):
            form.add_field(name)
    values = fill_from_image(engine, form, job.id, 3)
    shown = {name: values[component] for name, component in form.components.items()}
    assert shown == {name: getattr(request, name) for name in TAKEN_OVER} | {"seed": 12}
    assert all(value == SKIPPED for value in fill_from_image(engine, form, "unknown", 0).values())


def test_a_hires_run_that_was_stopped_in_its_second_pass_is_reported(start_recorder: StartEngine):
    engine, _ = start_recorder()
    job = engine.submit(SMALL.replace(enable_hr=True, hr_scale=2), with_recording=True)
    *_, (message, *_) = resume(engine, [job.id])  # the device recorded one pass
    assert "Nothing was recorded" in message
