"""Every kind of work but plans, on the demo checkpoints."""

from __future__ import annotations

import math
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.core.errors import Unsupported, UserError
from modules.models.model_spec import make_model_spec
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.results import ForwardRecording
from modules.plan.work import EstimateDepth, LoadModel, RecordForward, UnloadModels, Work
from modules.prompt.tokens import ClipTokenizer
from tests.backend.demo import demo_engine

ROOT = Path(__file__).resolve().parents[2]
GRADIENT = ImageField.from_pil(Image.linear_gradient("L").convert("RGB"))
SIZE = (64, 64)


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory):
    engine = demo_engine(tmp_path_factory.mktemp("data"))
    engine.models.refresh()
    return lambda name: make_model_spec(
        engine.models, engine.models.find_checkpoint(f"demo/{name}.safetensors"), engine.settings
    )


@pytest.fixture(scope="module")
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


@pytest.fixture(scope="module", params=[True, False], ids=["in pixels", "in latents"])
def forward(request, runner: Runner, spec_of) -> ForwardRecording:
    return runner.run(RecordForward(spec_of("demo"), GRADIENT, SIZE, 5, 3, request.param))


def test_depth_is_estimated_at_the_requested_size(runner: Runner, spec_of):
    depth = runner.run(EstimateDepth(spec_of("demo-depth"), GRADIENT, (96, 64)))
    assert (depth.mode, depth.size) == ("L", (96, 64))
    assert np.ptp(np.asarray(depth)) > 128


def test_a_checkpoint_without_estimator_needs_a_depth_map(runner: Runner, spec_of):
    with pytest.raises(UserError, match=r"has no depth estimator\. Provide a depth map"):
        runner.run(EstimateDepth(spec_of("demo"), GRADIENT, SIZE))


def test_the_forward_process_ends_in_unit_noise(forward: ForwardRecording):
    first, last = forward.frames[0], forward.frames[-1]
    assert [frame.time for frame in forward.frames] == [0, 250, 500, 750, 1000]
    assert (first.beta, first.alpha_cumprod, first.snr) == (0, 1, math.inf)
    assert last.beta == pytest.approx(0.012, rel=1e-3)
    assert last.alpha_cumprod == pytest.approx(0.00466, rel=1e-2)
    error = 4 / math.sqrt(forward.value_count)
    assert abs(forward.final_sample.mean() - last.expected.mean) < error
    assert abs(forward.final_sample.var() - last.expected.variance) < error * math.sqrt(2)


def test_the_chain_and_the_closed_form_agree_at_every_frame(forward: ForwardRecording):
    error = 5 / math.sqrt(forward.value_count)
    for frame in forward.frames:
        for moments in (frame.closed_form, frame.step_by_step):
            assert abs(moments.mean - frame.expected.mean) < error
            assert abs(moments.variance - frame.expected.variance) < error * math.sqrt(2)


def test_latents_have_48_times_fewer_values(runner: Runner, spec_of):
    recording = runner.run(RecordForward(spec_of("demo"), GRADIENT, SIZE, 2, 3, False))
    assert recording.pixel_value_count == 48 * recording.value_count


def test_the_first_frame_is_the_image_itself(runner: Runner, spec_of):
    recording = runner.run(RecordForward(spec_of("demo"), GRADIENT, SIZE, 2, 3, True))
    assert np.array_equal(
        np.asarray(recording.frames[0].image),
        np.asarray(GRADIENT.to_pil().resize(SIZE, Image.Resampling.LANCZOS)),
    )


def test_a_checkpoint_is_loaded_and_unloaded(runner: Runner, spec_of):
    runner.run(UnloadModels())
    runner.run(LoadModel(spec_of("demo")))
    loaded = weakref.ref(runner.models.acquire(spec_of("demo")))
    assert loaded() is not None
    runner.run(UnloadModels())
    assert loaded() is None


class Imagine(Work[str]):
    """Work that only another version can do."""


def test_unknown_work_is_refused_by_name(runner: Runner):
    with pytest.raises(Unsupported, match="This device cannot do the work 'Imagine'"):
        runner.run(Imagine())


@pytest.mark.parametrize("count", [0, 1, 1001])
def test_an_invalid_frame_count_is_refused(runner: Runner, spec_of, count: int):
    with pytest.raises(UserError, match=f"{count} timesteps cannot be shown"):
        runner.run(RecordForward(spec_of("demo"), GRADIENT, SIZE, count, 3, False))
