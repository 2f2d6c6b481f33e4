"""Seeds and tiling over the whole road, on the demo checkpoint that comes with the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.models.manager import ModelManager
from modules.params.device import DeviceOptions
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import Recorder
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(
    prompt="a red circle on a blue background", width=64, height=64, steps=4, cfg_scale=5, seed=1
)


@pytest.fixture(scope="module")
def drawn(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = ROOT / "models" / "Stable-diffusion" / "demo"
    manager = ModelManager([folder], ROOT / "configs", tmp_path_factory.mktemp("cache"))
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def drawn(**changes: Any) -> list[Image.Image]:
        recorder = Recorder()
        request = SMALL.replace(**changes)
        runner.run(make_plan(request, manager, manager.find("demo"), SAMPLERS, SCHEDULES), recorder)
        return [image for _, image in recorder.images]

    return drawn


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(levels(one) - levels(other)).max())


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a"])
def test_a_batch_of_four_is_four_single_pictures(drawn, sampler: str):
    # Latents agree to 1e-3, not to the bit: matrix products of another batch size add up in another order.
    batch = drawn(batch_size=4, sampler_name=sampler)
    singles = [drawn(seed=1 + index, sampler_name=sampler)[0] for index in range(4)]
    assert max(difference(one, single) for one, single in zip(batch, singles, strict=True)) <= 1
    assert difference(batch[0], batch[1]) > 20


def test_a_variation_lies_between_the_pictures_of_both_seeds(drawn):
    seed, subseed = drawn()[0], drawn(seed=9)[0]
    varied = drawn(subseed=9, subseed_strength=0.3)[0]
    assert drawn(subseed=9, subseed_strength=0)[0].tobytes() == seed.tobytes()
    assert difference(drawn(subseed=9, subseed_strength=1)[0], subseed) <= 1
    to_seed, to_subseed = (np.abs(levels(varied) - levels(end)).mean() for end in (seed, subseed))
    assert 0 < to_seed < to_subseed


def test_a_batch_of_variations_counts_the_variation_seed_up(drawn):
    batch = drawn(subseed=9, subseed_strength=0.3, batch_size=2)
    alone = drawn(subseed=10, subseed_strength=0.3)[0]
    assert difference(batch[1], alone) <= 1
    assert difference(batch[0], batch[1]) > 10


def test_every_source_of_noise_gives_its_own_picture_and_the_default_is_an_nvidia_cards(drawn):
    default, nvidia, cpu = (
        drawn(override_settings=options)[0]
        for options in ({}, {"randn_source": "NV"}, {"randn_source": "CPU"})
    )
    assert default.tobytes() == nvidia.tobytes()
    assert difference(default, cpu) > 20


def test_ensd_changes_what_comes_after_the_first_noise_alone(drawn):
    ensd = {"override_settings": {"eta_noise_seed_delta": 31337}}
    assert drawn(**ensd)[0].tobytes() == drawn()[0].tobytes()  # DPM++ 2M draws once
    assert (
        difference(drawn(sampler_name="Euler a", **ensd)[0], drawn(sampler_name="Euler a")[0]) > 10
    )


def test_a_resized_seed_makes_another_picture_that_comes_back(drawn):
    resized = {"width": 96, "seed_resize_from_w": 64, "seed_resize_from_h": 64}
    first, plain = drawn(**resized)[0], drawn(width=96)[0]
    assert first.tobytes() == drawn(**resized)[0].tobytes()
    assert difference(first, plain) > 10


def test_the_edges_of_a_tiling_picture_fit_together(drawn):
    tiling = drawn(override_settings={"tiling": True}, seed=3, steps=8)[0]
    plain = drawn(seed=3, steps=8)[0]
    seams = []
    for image in (tiling, plain):
        pixels = levels(image)
        inside = np.abs(np.diff(pixels, axis=1)).mean()
        seams.append(np.abs(pixels[:, 0] - pixels[:, -1]).mean() / inside)
    assert seams[0] < 2
    assert drawn(seed=3, steps=8)[0].tobytes() == plain.tobytes()
