"""Plan to images, on a tiny random model and on the bundled demo checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.device import choose_device
from modules.backend.model import LoadedModel
from modules.backend.runner import Runner
from modules.backend.upscale.upscalers import Upscalers
from modules.core.errors import Cancelled
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS
from tests.backend.batches import generate_batch
from tests.backend.tiny import RecordingListener, tiny_components
from tests.conftest import ROOT, no_network, write_listed_checkpoint

UPSCALERS = Upscalers(choose_device(DeviceOptions(use_cpu=True)))

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=3, seed=7)
CIRCLE = Txt2ImgRequest(
    prompt="a red circle on a blue background", width=128, height=128, steps=20, cfg_scale=5, seed=1
)


def plan_of(folder: Path, cache: Path, request: Txt2ImgRequest, name: str) -> Plan:
    manager = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", cache)
    return make_plan(request, manager, manager.find_checkpoint(name))


# A tiny random model


@pytest.fixture(scope="module")
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    return LoadedModel(tiny_components(), tokenizer)


@pytest.fixture
def generate(model: LoadedModel, tmp_path: Path):
    write_listed_checkpoint(tmp_path / "any.safetensors")  # for planning; the model is in memory

    def generate(
        listener: RecordingListener,
        batch: int = 0,
        request: GenerationRequest = SMALL,
        **changes: Any,
    ) -> list[Image.Image]:
        plan = plan_of(tmp_path, tmp_path, request.replace(**changes), "any")
        with torch.inference_mode():
            generate_batch(lambda _: model, UPSCALERS, plan, batch, listener, listener.cancel)
        return [image for _, image in listener.images]

    return generate


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def test_images_of_a_batch_are_decoded_one_by_one(generate):
    listener = RecordingListener()
    images = generate(listener, batch=1, n_iter=2, batch_size=2, height=128)
    assert [index for index, _ in listener.images] == [2, 3]
    assert {image.size for image in images} == {(64, 128)}
    assert listener.phases == ["Encoding the prompt", "Sampling", "Decoding", "Decoding"]


def test_progress_counts_over_all_batches(generate):
    listener = RecordingListener()
    generate(listener, batch=1, n_iter=2)
    assert [(p.step, p.steps) for p in listener.progress] == [(4, 6), (5, 6), (6, 6)]
    assert all(p.steps_per_second > 0 for p in listener.progress)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DPM++ 2M SDE"])
def test_an_image_of_a_batch_equals_the_image_of_its_seed_alone(generate, sampler: str):
    batch = generate(RecordingListener(), batch_size=2, sampler_name=sampler)
    alone = generate(RecordingListener(), seed=8, sampler_name=sampler)
    assert np.abs(pixels_of(batch[1]) - pixels_of(alone[0])).max() <= 2
    assert np.abs(pixels_of(batch[0]) - pixels_of(batch[1])).max() > 2


def test_masked_content_of_noise_is_drawn_from_the_seed_alone(generate):
    """A1111 draws it without variation seeds; at strength 0 it is what the image shows."""
    mask = ImageField.from_pil(Image.new("L", (64, 64), 255), MASK)
    request = Img2ImgRequest(
        init_image=ImageField.from_pil(Image.new("RGB", (64, 64), "grey")),
        mask=mask,
        inpainting_fill=2,
        denoising_strength=0,
        **SMALL.model_dump(include={"prompt", "width", "height", "steps", "seed"}),
    )
    plain, varied, other = (
        pixels_of(generate(RecordingListener(), request=request, **changes)[0])
        for changes in ({}, {"subseed": 3, "subseed_strength": 0.5}, {"seed": 8})
    )
    assert np.abs(varied - plain).mean() < 0.1 * np.abs(other - plain).mean()


def test_a_prompt_may_be_longer_than_its_negative_prompt(generate):
    assert len(generate(RecordingListener(), prompt="cat " * 200, negative_prompt="dog")) == 1


def test_an_interrupt_ends_the_batch_within_a_step(generate):
    listener = RecordingListener(stop_after=2)
    with pytest.raises(Cancelled):
        generate(listener, steps=50)
    assert len(listener.progress) == 2
    assert listener.images == []


def test_previews_are_created_only_on_request(generate):
    with_previews, without = RecordingListener(wants_previews=True), RecordingListener()
    generate(with_previews, batch_size=2)
    generate(without)
    assert [preview.size for preview in with_previews.previews] == [(16, 8)] * 3
    assert without.previews == []


@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_every_sampler_gives_an_image_in_three_steps(generate, sampler: str):
    listener = RecordingListener()
    assert (
        len(
            generate(
                listener, sampler_name=sampler, override_settings={"s_churn": 1.0, "eta_ddim": 1.0}
            )
        )
        == 1
    )
    assert listener.progress[-1].step == listener.progress[-1].steps or sampler == "DPM adaptive"


@pytest.mark.parametrize("sampler", ["DPM++ 3M SDE", "DPM adaptive", "Restart"])
def test_the_same_request_gives_the_same_bytes(generate, sampler: str):
    first, second = (
        generate(RecordingListener(), sampler_name=sampler, steps=20 if sampler == "Restart" else 4)
        for _ in range(2)
    )
    assert first[0].tobytes() == second[0].tobytes()


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("Euler", {"sd_noise_schedule": "Zero Terminal SNR"}),
        ("DDIM", {"use_downcasted_alpha_bar": True}),
        ("Euler", {"sgm_noise_multiplier": True}),
        ("Euler", {"always_discard_next_to_last_sigma": True}),
        ("Euler a", {"eta_ancestral": 0.5}),
        ("UniPC", {"uni_pc_variant": "bh2"}),
        ("DPM++ 2M", {"rho": 3.0}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_override_settings_change_the_image(generate, sampler: str, options: dict[str, Any]):
    plain, changed = (
        generate(RecordingListener(), sampler_name=sampler, steps=4, override_settings=settings)
        for settings in ({}, options)
    )
    assert np.abs(pixels_of(plain[0]) - pixels_of(changed[0])).max() > 0


@pytest.mark.parametrize("size", [(64, 72), (88, 64), (200, 104)])
def test_any_multiple_of_eight_is_a_size(generate, size: tuple[int, int]):
    assert generate(RecordingListener(), width=size[0], height=size[1], steps=1)[0].size == size


# The demo checkpoint


@pytest.fixture(scope="module")
def demo(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Generate with the demo checkpoint, without network access."""
    folder = ROOT / "models" / "Stable-diffusion" / "demo"
    cache = tmp_path_factory.mktemp("cache")
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def generate(**changes: Any) -> list[Image.Image]:
        listener = RecordingListener()
        runner.run(plan_of(folder, cache, CIRCLE.replace(**changes), "demo"), listener)
        return [image for _, image in listener.images]

    with no_network():
        yield generate


@pytest.fixture(scope="module")
def circle(demo) -> Image.Image:
    return demo()[0]


def test_a_red_circle_on_a_blue_background_is_red_on_blue(circle: Image.Image):
    pixels = pixels_of(circle)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    is_red = (red > blue + 40) & (red > green + 40)
    is_blue = (blue > red + 40) & (blue > green)
    border = np.ones((128, 128), dtype=bool)
    border[12:-12, 12:-12] = False
    assert is_red[48:80, 48:80].mean() > 0.6
    assert is_blue[border].mean() > 0.6


def test_the_same_seed_gives_the_same_bytes(demo, circle: Image.Image):
    assert demo()[0].tobytes() == circle.tobytes()


def test_another_seed_gives_another_image(demo, circle: Image.Image):
    assert demo(seed=2, steps=5)[0].tobytes() != demo(seed=3, steps=5)[0].tobytes()


def test_a_negative_prompt_changes_the_image(demo):
    plain = demo(steps=5)[0]
    without_green = demo(steps=5, negative_prompt="green")[0]
    assert np.abs(pixels_of(plain) - pixels_of(without_green)).max() > 2


def test_a_batch_of_two_equals_two_single_images(demo):
    batch = demo(batch_size=2, steps=5)
    singles = demo(steps=5)[0], demo(seed=2, steps=5)[0]
    for image, single in zip(batch, singles, strict=True):
        assert np.abs(pixels_of(image) - pixels_of(single)).max() <= 2
