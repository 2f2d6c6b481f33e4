"""What the device answers beside jobs, asked of the demo checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.core.errors import UserError
from modules.models.model_spec import make_model_spec
from modules.params.device import DeviceOptions
from modules.params.image import ImageField
from modules.params.results import ForwardRecording
from modules.plan.work import EstimateDepth, RecordForward
from modules.prompt.tokens import ClipTokenizer
from tests.backend.demo import demo_engine

ROOT = Path(__file__).resolve().parents[2]
SLOPE = ImageField.from_pil(Image.linear_gradient("L").convert("RGB"))
SIZE = (64, 64)


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    engine = demo_engine(tmp_path_factory.mktemp("data"))
    engine.models.refresh()
    return lambda name: make_model_spec(
        engine.models, engine.models.find(f"demo/{name}.safetensors"), engine.settings
    )


@pytest.fixture(scope="module")
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


@pytest.fixture(scope="module", params=[True, False], ids=["in pixels", "in latents"])
def forward(request, runner: Runner, model_of) -> ForwardRecording:
    return runner.handle(RecordForward(model_of("demo"), SLOPE, SIZE, 5, 3, request.param))


def test_depth_is_estimated_at_the_asked_size(runner: Runner, model_of):
    depth = runner.handle(EstimateDepth(model_of("demo-depth"), SLOPE, (96, 64)))
    assert (depth.mode, depth.size) == ("L", (96, 64))
    assert np.ptp(np.asarray(depth)) > 128


def test_a_checkpoint_without_estimator_asks_for_a_map(runner: Runner, model_of):
    with pytest.raises(UserError, match=r"has no depth estimator\. Provide a depth map"):
        runner.handle(EstimateDepth(model_of("demo"), SLOPE, SIZE))


def test_the_forward_process_goes_from_the_picture_to_unit_noise(forward: ForwardRecording):
    first, last = forward.frames[0], forward.frames[-1]
    assert [frame.time for frame in forward.frames] == [0, 250, 500, 750, 1000]
    assert (first.beta, first.alpha_cumprod, first.snr) == (0, 1, math.inf)
    assert last.beta == pytest.approx(0.012, rel=1e-3)
    assert last.alpha_cumprod == pytest.approx(0.00466, rel=1e-2)
    error = 4 / math.sqrt(forward.value_count)
    assert abs(forward.final_sample.mean() - last.expected.mean) < error
    assert abs(forward.final_sample.var() - last.expected.variance) < error * math.sqrt(2)


def test_the_chain_and_the_closed_form_agree_at_every_moment(forward: ForwardRecording):
    error = 5 / math.sqrt(forward.value_count)
    for frame in forward.frames:
        for drawn in (frame.closed_form, frame.step_by_step):
            assert abs(drawn.mean - frame.expected.mean) < error
            assert abs(drawn.variance - frame.expected.variance) < error * math.sqrt(2)


def test_latents_are_48_times_fewer_numbers(runner: Runner, model_of):
    shown = runner.handle(RecordForward(model_of("demo"), SLOPE, SIZE, 2, 3, False))
    assert shown.pixel_value_count == 48 * shown.value_count


def test_the_first_frame_is_the_picture_itself(runner: Runner, model_of):
    shown = runner.handle(RecordForward(model_of("demo"), SLOPE, SIZE, 2, 3, True))
    assert np.array_equal(
        np.asarray(shown.frames[0].picture),
        np.asarray(SLOPE.to_pil().resize(SIZE, Image.Resampling.LANCZOS)),
    )


@pytest.mark.parametrize("count", [0, 1, 1001])
def test_a_count_of_moments_that_cannot_be_is_refused(runner: Runner, model_of, count: int):
    with pytest.raises(UserError, match=f"{count} timesteps cannot be shown"):
        runner.handle(RecordForward(model_of("demo"), SLOPE, SIZE, count, 3, False))
