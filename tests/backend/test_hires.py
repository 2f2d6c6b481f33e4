"""The hires pass: upscaling on a tiny VAE, and whole runs on the bundled demo checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.backend.device import choose_device
from modules.backend.hires import encode_upscaled, upscale
from modules.backend.runner import Runner
from modules.backend.upscale.upscalers import Upscalers
from modules.core.errors import Cancelled, UserError
from modules.models.index import ModelIndex
from modules.models.upscaling.upscalers import UPSCALERS
from modules.params.device_options import DeviceOptions
from modules.params.requests.txt2img import HiresSize, Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.tokens import ClipTokenizer
from tests.backend.tiny import RecordingListener, tiny_components
from tests.conftest import ROOT

UPSCALERS_ON_CPU = Upscalers(choose_device(DeviceOptions(use_cpu=True)))
LATENT = [row.name for row in UPSCALERS if row.is_latent]
CIRCLE = Txt2ImgRequest(
    prompt="a red circle on a blue background",
    width=64,
    height=64,
    steps=10,
    cfg_scale=5,
    seed=1,
    enable_hr=True,
    denoising_strength=0.5,
)


@torch.inference_mode()
def upscale_latents(upscaler: str, size: HiresSize, count: int = 1) -> Tensor:
    latents = torch.randn((count, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    components = tiny_components()
    upscaled = upscale(
        components, latents, PlannedUpscaler(UPSCALERS.get(upscaler)), size, UPSCALERS_ON_CPU
    )
    return encode_upscaled(components, upscaled, 1.0).latents


@pytest.mark.parametrize("upscaler", [*LATENT, "None", "Lanczos", "Nearest"])
def test_every_upscaler_gives_latents_of_the_requested_size(upscaler: str):
    assert upscale_latents(upscaler, HiresSize(144, 128), count=2).shape == (2, 4, 16, 18)


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
def test_a_size_that_is_no_multiple_of_8_is_rounded_down(upscaler: str):
    size = HiresSize(150, 133)
    assert upscale_latents(upscaler, size).shape == (1, 4, size.height // 8, size.width // 8)


def test_latents_are_cropped_to_the_center_and_an_odd_row_at_the_end():
    whole, cropped = (
        upscale_latents("Latent", HiresSize(128, 128)),
        upscale_latents("Latent", HiresSize(128, 128, 4, 3)),
    )
    assert torch.equal(cropped, whole[:, :, 1:14, 2:14])


# The demo checkpoint


class Studio:
    def __init__(self, tokenizer: ClipTokenizer, cache: Any) -> None:
        folder = ROOT / "models" / "Stable-diffusion" / "demo"
        self.manager = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", cache)
        self.runner = Runner(DeviceOptions(use_cpu=True), tokenizer)

    def plan(self, **changes: Any) -> Plan:
        request = CIRCLE.replace(**changes)
        return make_plan(request, self.manager, self.manager.find_checkpoint("demo"))

    def generate(
        self, listener: RecordingListener | None = None, **changes: Any
    ) -> list[Image.Image]:
        listener = listener or RecordingListener()
        self.runner.run(self.plan(**changes), listener, listener.cancel)
        return [image for _, image in listener.images]


@pytest.fixture(scope="module")
def studio(tokenizer: ClipTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tokenizer, tmp_path_factory.mktemp("cache"))


def pixels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def difference(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(pixels_of(one) - pixels_of(other)).max())


def correlation(one: Image.Image, other: Image.Image) -> float:
    """Return the correlation of two downscaled images."""
    small = [
        pixels_of(image.resize((16, 16), Image.Resampling.BOX)).ravel() for image in (one, other)
    ]
    return float(np.corrcoef(small)[0, 1])


@pytest.mark.parametrize("upscaler", ["Latent (nearest-exact)", "Lanczos"])
def test_the_larger_image_has_the_same_composition(studio: Studio, upscaler: str):
    # Without a prompt each seed has its own composition.
    first, other = (studio.generate(prompt="", enable_hr=False, seed=seed)[0] for seed in (1, 5))
    larger = studio.generate(prompt="", hr_upscaler=upscaler)[0]
    assert larger.size == (128, 128)
    assert correlation(larger, first) > 0.85
    assert correlation(other, first) < 0.5


def test_upscalers_give_different_images(studio: Studio):
    images = [
        studio.generate(hr_upscaler=name, steps=4)[0].tobytes()
        for name in ("Latent", *LATENT[2::2], "Nearest")
    ]
    assert len(set(images)) == 4


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "Euler a", "DDIM"])
def test_the_same_seed_gives_the_same_bytes(studio: Studio, sampler: str):
    first, again = (studio.generate(sampler_name=sampler, steps=4)[0] for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert difference(studio.generate(sampler_name=sampler, steps=4, seed=2)[0], first) > 20


def test_an_image_of_a_batch_equals_the_image_of_its_seed_alone(studio: Studio):
    batch = studio.generate(batch_size=2, n_iter=2, steps=4)
    alone = studio.generate(seed=4, steps=4)[0]
    assert difference(batch[3], alone) <= 1


def test_a_strength_of_0_only_upscales(studio: Studio):
    listener = RecordingListener()
    image = studio.generate(listener, denoising_strength=0, hr_upscaler="None")[0]
    assert image.size == (128, 128)
    assert listener.progress[-1].step == 10
    assert correlation(image, studio.generate(enable_hr=False)[0]) > 0.98


def test_the_hires_pass_runs_exactly_its_steps_and_progress_counts_both_passes(studio: Studio):
    listener = RecordingListener(wants_previews=True)
    studio.generate(
        listener,
        steps=4,
        hr_second_pass_steps=3,
        n_iter=2,
        denoising_strength=0.3,
        sampler_name="Euler",
    )
    assert [(p.step, p.steps) for p in listener.progress] == [(step, 14) for step in range(1, 15)]
    assert [preview.size for preview in listener.previews[:7]] == [(8, 8)] * 4 + [(16, 16)] * 3
    assert listener.phases[1:6] == [
        "Encoding the prompt",
        "Sampling",
        "Upscaling",
        "Encoding the prompt",
        "Sampling the larger image",
    ]


def test_an_interrupt_ends_the_hires_pass(studio: Studio):
    listener = RecordingListener(stop_after=6)
    with pytest.raises(Cancelled):
        studio.generate(listener, steps=4)
    assert listener.images == []


@pytest.mark.parametrize(
    "change",
    [
        {"hr_prompt": "a green square"},
        {"hr_negative_prompt": "red"},
        {"hr_sampler_name": "Euler a"},
        {"hr_scheduler": "Uniform"},
        {"hr_second_pass_steps": 7},
        {"denoising_strength": 0.9},
        {"subseed": 7, "subseed_strength": 0.2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_hires_field_has_an_effect(studio: Studio, change: dict[str, Any]):
    assert difference(studio.generate(steps=4, **change)[0], studio.generate(steps=4)[0]) > 3


def test_a_prompt_can_change_between_the_passes(studio: Studio):
    red, green = "a red circle on a blue background", "a green square on a blue background"
    edited = studio.generate(steps=4, prompt=f"[{red}:{green}:1.0]", denoising_strength=0.8)[0]
    apart = studio.generate(steps=4, prompt=red, hr_prompt=green, denoising_strength=0.8)[0]
    assert edited.tobytes() == apart.tobytes()
    assert difference(edited, studio.generate(steps=4, prompt=red, denoising_strength=0.8)[0]) > 20


def test_another_checkpoint_can_run_the_hires_pass(studio: Studio):
    change = {"hr_checkpoint_name": "demo-inpainting", "hr_upscaler": "Lanczos"}
    listener = RecordingListener()
    image = studio.generate(listener, steps=4, **change)[0]
    assert "Loading demo-inpainting.safetensors" in listener.phases
    assert difference(image, studio.generate(steps=4, hr_upscaler="Lanczos")[0]) > 3


def test_a_hires_pass_that_is_too_large_is_refused(studio: Studio):
    with pytest.raises(UserError, match=r"Width is 10240; the largest valid value is 8192\."):
        studio.plan(width=2048, height=64, hr_scale=5.0)
