"""Seeds and tiling from request to image, on the bundled demo checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(
    prompt="a red circle on a blue background", width=64, height=64, steps=4, cfg_scale=5, seed=1
)


@pytest.fixture(scope="module")
def generate(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = ROOT / "models" / "Stable-diffusion" / "demo"
    manager = ModelIndex(
        {"Checkpoint": [folder]}, ROOT / "configs", tmp_path_factory.mktemp("cache")
    )
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def generate(**changes: Any) -> list[Image.Image]:
        listener = RecordingListener()
        request = SMALL.replace(**changes)
        runner.run(
            make_plan(request, manager, manager.find_checkpoint("demo")),
            listener,
        )
        return [image for _, image in listener.images]

    return generate


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(pixels_of(one) - pixels_of(other)).max())


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a"])
def test_a_batch_of_four_equals_four_single_images(generate, sampler: str):
    # Latents agree to 1e-3, not bit for bit: matrix products of another batch size add up in another order.
    batch = generate(batch_size=4, sampler_name=sampler)
    singles = [generate(seed=1 + index, sampler_name=sampler)[0] for index in range(4)]
    assert max(difference(image, single) for image, single in zip(batch, singles, strict=True)) <= 1
    assert difference(batch[0], batch[1]) > 20


def test_a_variation_lies_between_the_images_of_both_seeds(generate):
    seed, subseed = generate()[0], generate(seed=9)[0]
    varied = generate(subseed=9, subseed_strength=0.3)[0]
    assert generate(subseed=9, subseed_strength=0)[0].tobytes() == seed.tobytes()
    assert difference(generate(subseed=9, subseed_strength=1)[0], subseed) <= 1
    to_seed, to_subseed = (
        np.abs(pixels_of(varied) - pixels_of(end)).mean() for end in (seed, subseed)
    )
    assert 0 < to_seed < to_subseed


def test_a_batch_increments_the_variation_seed(generate):
    batch = generate(subseed=9, subseed_strength=0.3, batch_size=2)
    alone = generate(subseed=10, subseed_strength=0.3)[0]
    assert difference(batch[1], alone) <= 1
    assert difference(batch[0], batch[1]) > 10


def test_noise_sources_give_different_images_and_the_default_is_an_nvidia_cards(generate):
    default, nvidia, cpu = (
        generate(override_settings=options)[0]
        for options in ({}, {"randn_source": "NV"}, {"randn_source": "CPU"})
    )
    assert default.tobytes() == nvidia.tobytes()
    assert difference(default, cpu) > 20


def test_ensd_changes_only_noise_after_the_first(generate):
    ensd = {"override_settings": {"eta_noise_seed_delta": 31337}}
    assert generate(**ensd)[0].tobytes() == generate()[0].tobytes()  # DPM++ 2M draws once
    assert (
        difference(generate(sampler_name="Euler a", **ensd)[0], generate(sampler_name="Euler a")[0])
        > 10
    )


def test_a_resized_seed_gives_another_reproducible_image(generate):
    resized = {"width": 96, "seed_resize_from_w": 64, "seed_resize_from_h": 64}
    first, plain = generate(**resized)[0], generate(width=96)[0]
    assert first.tobytes() == generate(**resized)[0].tobytes()
    assert difference(first, plain) > 10


def test_the_edges_of_a_tiling_image_match(generate):
    tiling = generate(override_settings={"tiling": True}, seed=3, steps=8)[0]
    plain = generate(seed=3, steps=8)[0]
    seams = []
    for image in (tiling, plain):
        pixels = pixels_of(image)
        inside = np.abs(np.diff(pixels, axis=1)).mean()
        seams.append(np.abs(pixels[:, 0] - pixels[:, -1]).mean() / inside)
    assert seams[0] < 2
    assert generate(seed=3, steps=8)[0].tobytes() == plain.tobytes()
