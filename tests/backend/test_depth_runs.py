"""Depth checkpoints on the whole road, from picture and words to picture."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.core.errors import Cancelled, UserError
from modules.params.device import DeviceOptions
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_depth import write_depth
from tests.backend.test_runner import plan_of
from tests.backend.tiny import Recorder

HILL = Image.linear_gradient("L").rotate(180).resize((96, 80))
PICTURE = ImageField.from_pil(Image.merge("RGB", (HILL, HILL.rotate(180), HILL)))
MAP = ImageField.from_pil(HILL)
SMALL = DepthRequest(
    prompt="a cat", init_image=PICTURE, width=64, height=64, steps=4, seed=7, denoising_strength=0.5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_depth(folder / "tiny.safetensors")
    write_depth(folder / "pruned.safetensors", with_estimator=False)
    return folder


@pytest.fixture(scope="module")
def draw(folder: Path, tokenizer: ClipTokenizer) -> Iterator[Any]:
    """Repaint; nothing may be asked of the network."""
    patch = pytest.MonkeyPatch()

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("loading and generating need no network")

    for name in ("connect", "connect_ex", "sendto"):
        patch.setattr(socket.socket, name, refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def draw(
        recorder: Recorder | None = None, name: str = "tiny", **changes: Any
    ) -> list[Image.Image]:
        recorder = recorder or Recorder()
        runner.run(plan_of(folder, SMALL.replace(**changes), name), recorder)
        return [image for _, image in recorder.images]

    yield draw
    patch.undo()


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DDIM"])
def test_a_picture_comes_of_a_picture_and_the_same_again(draw, sampler: str):
    changes = {"sampler_name": sampler, "height": 128, "negative_prompt": "a dog " * 90}
    first, again = draw(**changes)[0], draw(**changes)[0]
    assert first.size == (64, 128)
    assert first.tobytes() == again.tobytes()


def test_a_runner_that_has_seen_nothing_makes_the_same_bytes(
    draw, folder: Path, tokenizer: ClipTokenizer
):
    recorder = Recorder()
    Runner(DeviceOptions(use_cpu=True), tokenizer).run(plan_of(folder, SMALL), recorder)
    assert recorder.images[0][1].tobytes() == draw()[0].tobytes()


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a"])
def test_a_batch_equals_its_singles(draw, sampler: str):
    batch = draw(batch_size=2, sampler_name=sampler)
    assert difference(batch[0], draw(sampler_name=sampler)[0]) <= 2
    assert difference(batch[1], draw(seed=8, sampler_name=sampler)[0]) <= 2
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
def test_every_part_of_the_request_counts(draw, change: dict[str, Any]):
    given = {"depth_map": MAP, **change}
    assert difference(draw(depth_map=MAP)[0], draw(**given)[0]) > 0


def test_a_flat_picture_is_repainted(draw):
    flat = ImageField.from_pil(Image.new("RGB", (64, 64), "grey"))
    assert len(draw(init_image=flat)) == 1


def test_progress_counts_the_steps_that_are_made(draw):
    recorder = Recorder(watches=True)
    draw(recorder, n_iter=2, steps=20, denoising_strength=0.3)
    assert [(told.step, told.steps) for told in recorder.progress] == [
        (n, 14) for n in range(1, 15)
    ]
    assert len(recorder.previews) == 14
    assert "Reading the picture" in recorder.phases


def test_the_depth_is_shown(draw):
    recorder = Recorder()
    draw(recorder, width=128)
    assert [(shown.mode, shown.size) for shown in recorder.depth_maps] == [("L", (128, 64))]


def test_an_interrupt_ends_it_within_a_step(draw):
    recorder = Recorder(stop_after=2)
    with pytest.raises(Cancelled):
        draw(recorder, steps=20)
    assert (len(recorder.progress), recorder.images) == (2, [])


def test_a_checkpoint_without_its_estimator_needs_a_depth_map(draw):
    with pytest.raises(
        UserError, match=r"'pruned\.safetensors' has no depth estimator\. Provide a depth map\."
    ):
        draw(name="pruned")
    assert draw(name="pruned", depth_map=MAP)[0].size == (64, 64)
