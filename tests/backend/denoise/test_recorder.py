"""The recorded reverse process, on the demo checkpoint."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modules.backend.denoise.recorder import Recorder
from modules.backend.previews.latent_to_rgb import FlatColours, LatentToRgb
from modules.backend.runner import Runner
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import Recording
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.demo import demo_engine
from tests.backend.pipelines import runs
from tests.backend.tiny import RecordingListener, tiny_components

ROOT = Path(__file__).resolve().parents[3]
SMALL = Txt2ImgRequest(
    prompt="a red circle on a blue background", sd_model_checkpoint="demo/demo.safetensors",
    sampler_name="Euler", width=64, height=64, steps=5, seed=4, cfg_scale=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def plan_of(tmp_path_factory):
    engine = demo_engine(tmp_path_factory.mktemp("data"))
    engine.models.refresh()

    def plan_of(recorded: bool = True, **changes) -> Plan:
        request = SMALL.replace(**changes)
        plan = make_plan(
            request,
            engine.models,
            engine.find_checkpoint(request.sd_model_checkpoint),
        )
        return replace(plan, record=recorded)

    return plan_of


@pytest.fixture(scope="module")
def run(tokenizer: ClipTokenizer):
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def run(plan: Plan) -> RecordingListener:
        listener = RecordingListener()
        runner.run(plan, listener)
        return listener

    return run


@pytest.fixture(scope="module")
def recorded(run, plan_of) -> tuple[Recording, np.ndarray]:
    listener = run(plan_of())
    return listener.recordings[0], np.asarray(listener.images[0][1])


def test_the_last_denoised_image_is_the_result(recorded):
    recording, result = recorded
    assert np.array_equal(np.asarray(recording.steps[-1].denoised), result)
    assert recording.steps[-1].rms_to_final == pytest.approx(0, abs=1e-5)


def test_the_run_starts_with_unit_noise(recorded):
    noise = recorded[0].initial_noise
    assert abs(noise.mean()) < 5 / math.sqrt(noise.size)
    assert abs(noise.var() - 1) < 5 * math.sqrt(2 / noise.size)


def test_every_evaluation_is_recorded_with_its_sigma(recorded):
    steps = recorded[0].steps
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert steps[0].timestep == pytest.approx(999, abs=0.5)
    assert [step.sigma for step in steps] == sorted((step.sigma for step in steps), reverse=True)
    assert all(step.x.size == step.noise.size == step.difference.size == (64, 64) for step in steps)


def test_the_prediction_approaches_the_result(recorded):
    distances = [step.rms_to_final for step in recorded[0].steps]
    assert distances[0] > distances[-2] > distances[-1]


def test_without_guidance_there_is_no_difference(run, plan_of):
    recording = run(plan_of(cfg_scale=1, steps=2)).recordings[0]
    assert [step.difference for step in recording.steps] == [None, None]


def test_recording_changes_no_byte_of_the_image_and_an_ordinary_run_records_nothing(
    run, plan_of, recorded
):
    plain = run(plan_of(recorded=False))
    assert plain.recordings == []
    assert np.array_equal(np.asarray(plain.images[0][1]), recorded[1])


def test_of_a_batch_the_first_image_is_recorded_once(run, plan_of, recorded):
    listener = run(plan_of(batch_size=2, n_iter=2, steps=5))
    (recording,) = listener.recordings
    assert len(recording.steps) == 5
    batch, alone = (np.asarray(r.steps[0].x, dtype=int) for r in (recording, recorded[0]))
    assert np.abs(batch - alone).max() <= 2


def test_both_passes_of_hires_fix_are_recorded(run, plan_of):
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    listener = run(plan_of(steps=4, hr_second_pass_steps=4, **hires))
    first, second = listener.recordings
    assert (first.steps[0].x.size, second.steps[0].x.size) == ((64, 64), (128, 128))
    assert second.steps[0].sigma < first.steps[0].sigma, "it begins with a picture"
    denoised, result = (
        np.asarray(image, int) for image in (second.steps[-1].denoised, listener.images[0][1])
    )
    assert np.abs(denoised - result).max() <= 1, "the last step ends at what it predicts"


@torch.inference_mode()
def test_a_long_run_is_recorded_at_evenly_spaced_steps():
    components, recorder = tiny_components(), Recorder(max_steps=4)
    latents = runs.pipe(
        components, runs.make_plan("Euler", 10, schedule="Uniform"), extensions=[recorder]
    )
    to_rgb = LatentToRgb.fit(FlatColours.of(components.vae))
    steps = recorder.render(components, to_rgb, runs.MODEL_SIGMAS, latents).steps
    assert [round(step.timestep) for step in steps] == [999, 666, 333, 0]
    assert steps[-1].rms_to_final == pytest.approx(0, abs=1e-5)
