"""Whole runs of depth checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.core.errors import Cancelled, UserError
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_depth import write_depth
from tests.backend.test_runner import plan_of
from tests.backend.tiny import RecordingListener
from tests.conftest import no_network

HILL = Image.linear_gradient("L").rotate(180).resize((96, 80))
INIT_IMAGE = ImageField.from_pil(Image.merge("RGB", (HILL, HILL.rotate(180), HILL)))
MAP = ImageField.from_pil(HILL)
SMALL = DepthRequest(
    prompt="a cat",
    init_image=INIT_IMAGE,
    width=64,
    height=64,
    steps=4,
    seed=7,
    denoising_strength=0.5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_depth(folder / "tiny.safetensors")
    write_depth(folder / "pruned.safetensors", with_estimator=False)
    return folder


@pytest.fixture(scope="module")
def generate(folder: Path, tokenizer: ClipTokenizer) -> Iterator[Any]:
    """Generate from an init image, without network access."""
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def generate(
        listener: RecordingListener | None = None, name: str = "tiny", **changes: Any
    ) -> list[Image.Image]:
        listener = listener or RecordingListener()
        runner.run(plan_of(folder, SMALL.replace(**changes), name), listener, listener.cancel)
        return [image for _, image in listener.images]

    with no_network():
        yield generate


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DDIM"])
def test_depth2img_is_reproducible(generate, sampler: str):
    changes = {"sampler_name": sampler, "height": 128, "negative_prompt": "a dog " * 90}
    first, second = generate(**changes)[0], generate(**changes)[0]
    assert first.size == (64, 128)
    assert first.tobytes() == second.tobytes()


def test_a_new_runner_gives_the_same_bytes(generate, folder: Path, tokenizer: ClipTokenizer):
    listener = RecordingListener()
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan_of(folder, SMALL), listener)
    assert listener.images[0][1].tobytes() == generate()[0].tobytes()


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a"])
def test_a_batch_equals_its_single_images(generate, sampler: str):
    batch = generate(batch_size=2, sampler_name=sampler)
    assert difference(batch[0], generate(sampler_name=sampler)[0]) <= 2
    assert difference(batch[1], generate(seed=8, sampler_name=sampler)[0]) <= 2
    assert difference(batch[0], batch[1]) > 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"prompt": "a dog"},
        {"denoising_strength": 1.0},
        {"depth_map": ImageField.from_pil(HILL.rotate(180))},
        {"init_image": MAP},
        {"cfg_scale": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_the_request_has_an_effect(generate, change: dict[str, Any]):
    fields = {"depth_map": MAP, **change}
    assert difference(generate(depth_map=MAP)[0], generate(**fields)[0]) > 0


def test_an_image_of_one_colour_is_repainted(generate):
    flat = ImageField.from_pil(Image.new("RGB", (64, 64), "grey"))
    assert len(generate(init_image=flat)) == 1


def test_progress_counts_the_actual_steps(generate):
    listener = RecordingListener(wants_previews=True)
    generate(listener, n_iter=2, steps=20, denoising_strength=0.3)
    assert [(p.step, p.steps) for p in listener.progress] == [(n, 14) for n in range(1, 15)]
    assert len(listener.previews) == 14
    assert "Encoding the image" in listener.phases


def test_the_depth_map_is_reported(generate):
    listener = RecordingListener()
    generate(listener, width=128)
    assert [(depth.mode, depth.size) for depth in listener.depth_maps] == [("L", (128, 64))]


def test_an_interrupt_ends_the_run_within_a_step(generate):
    listener = RecordingListener(stop_after=2)
    with pytest.raises(Cancelled):
        generate(listener, steps=20)
    assert (len(listener.progress), listener.images) == (2, [])


def test_a_run_stopped_before_its_first_image_reports_it_unfinished_if_wanted(generate):
    stopped = RecordingListener(stop_after=2)
    stopped.cancel.want_unfinished()
    with pytest.raises(Cancelled):
        generate(stopped, steps=20, n_iter=2, batch_size=2)
    skipped = RecordingListener(skips=2)
    skipped.cancel.want_unfinished()
    generate(skipped, steps=4, n_iter=2)
    assert [image.size for image in (*stopped.unfinished, *skipped.unfinished)] == [(64, 64)] * 2
    assert (len(stopped.images), len(skipped.images)) == (0, 1)


def test_an_unfinished_image_is_reported_if_the_settings_save_it(generate):
    listener = RecordingListener(stop_after=2)
    with pytest.raises(Cancelled):
        generate(listener, steps=20, override_settings={"save_incomplete_images": True})
    assert len(listener.unfinished) == 1


def test_a_checkpoint_without_its_estimator_needs_a_depth_map(generate):
    with pytest.raises(
        UserError, match=r"'pruned\.safetensors' has no depth estimator\. Provide a depth map\."
    ):
        generate(name="pruned")
    assert generate(name="pruned", depth_map=MAP)[0].size == (64, 64)
