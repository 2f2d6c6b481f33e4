from __future__ import annotations

import gradio as gr

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.tabs.diffusion_process.reverse import follow_comparison, start_comparison
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, n_iter=3, batch_size=2)
SKIPPED = gr.skip()


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
    message, *_, running_jobs = next(updates)
    assert "Sampling" in message
    assert running_jobs == (group.id,)
    engine.interrupt(running_jobs[0])
    executor.release()
    *_, (message, *figures, running_jobs) = updates
    assert "Interrupted: 0 of 1 pictures were finished." in message
    assert figures == [SKIPPED] * len(figures)
    assert running_jobs == ()


def test_a_refused_run_is_an_error(engine: Engine):
    group = start_comparison(engine, SMALL.replace(sampler_name="Heun", steps=2), "Jump")
    *_, (message, *_) = follow_comparison(engine, group)
    assert "There is no sampler named" in message
    assert len(group.status().images) == 1
