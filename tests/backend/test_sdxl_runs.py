"""SDXL through every way of making an image: samplers, hires, repainting, tiling, previews and the recorded process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image

from modules.backend.model import LoadedModel
from modules.backend.runner import Runner
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.schedule import StepTimeline
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.checkpoints_sdxl import UNET, sdxl_weights, write_sdxl
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(
    prompt="a red circle", negative_prompt="blurry", width=64, height=64, steps=3, seed=7
)
Run = Callable[..., RecordingListener]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    write_sdxl(folder / "base.safetensors")
    keys = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    write_sdxl(folder / "v.safetensors", weights=sdxl_weights() | keys)
    write_sdxl(folder / "v-yaml.safetensors", scaling="VScaling")
    write_sdxl(folder / "paint.safetensors", replace(UNET, in_channels=9))
    write_sdxl(folder / "edit.safetensors", replace(UNET, in_channels=8))
    return folder


@pytest.fixture(scope="module")
def plan_of(folder: Path) -> Callable[..., Plan]:
    models = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")

    def plan_of(request: GenerationRequest = SMALL, name: str = "base", **changes: Any) -> Plan:
        return make_plan(request.replace(**changes), models, models.find_checkpoint(name))

    return plan_of


@pytest.fixture(scope="module")
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


@pytest.fixture(scope="module")
def run(plan_of: Callable[..., Plan], runner: Runner) -> Run:
    def run(*args: Any, record: bool = False, **changes: Any) -> RecordingListener:
        listener = RecordingListener(wants_previews=True)
        runner.run(replace(plan_of(*args, **changes), record=record), listener, listener.cancel)
        return listener

    return run


def only(listener: RecordingListener) -> Image.Image:
    ((_, image),) = listener.images
    return image


def image_request(**changes: Any) -> Img2ImgRequest:
    noise = Image.effect_noise((64, 64), 60).convert("RGB")
    fields = {**SMALL.model_dump(include={"prompt", "negative_prompt", "seed", "steps"}), **changes}
    return Img2ImgRequest(
        init_image=ImageField.from_pil(noise),
        width=64,
        height=64,
        denoising_strength=0.7,
        **fields,
    )


def mask() -> ImageField:
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    return ImageField.from_pil(half, MASK)


@torch.inference_mode()
def test_the_stock_pipeline_with_the_same_conditioning_gives_the_same_image(
    run: Run, runner: Runner, plan_of: Callable[..., Plan]
):
    plan = plan_of(
        sampler_name="Euler", scheduler="Uniform", override_settings={"randn_source": "CPU"}
    )
    ours = only(
        run(sampler_name="Euler", scheduler="Uniform", override_settings={"randn_source": "CPU"})
    )
    model: LoadedModel = runner.models.acquire(plan.model)
    components = model.components
    prompts = model.encode_prompts(
        SMALL.prompt, SMALL.negative_prompt, StepTimeline(3), Settings(), (64, 64)
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="linspace",
    )
    stock = StableDiffusionXLPipeline(
        vae=components.vae,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=components.unet,
        scheduler=scheduler,
        add_watermarker=False,
    )
    stock.set_progress_bar_config(disable=True)
    cond, uncond = prompts.conds[0], prompts.uncond
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    theirs = stock(
        prompt_embeds=cond.hidden[0],
        pooled_prompt_embeds=cond.pooled[0],
        negative_prompt_embeds=uncond.hidden[0],
        negative_pooled_prompt_embeds=uncond.pooled[0],
        num_inference_steps=3,
        guidance_scale=SMALL.cfg_scale,
        latents=noise,
        width=64,
        height=64,
    ).images[0]
    difference = np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16))
    assert difference.max() <= 1  # the stock pipeline rounds where A1111 truncates


@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_every_sampler_makes_an_image(run: Run, sampler: str):
    listener = run(sampler_name=sampler, steps=4)
    assert only(listener).size == (64, 64)
    assert listener.previews[0].size == (8, 8)


@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_every_schedule_makes_another_image_or_the_usual_one(run: Run, schedule: str):
    assert only(run(sampler_name="Euler", scheduler=schedule)).size == (64, 64)


def test_the_keys_of_a_v_prediction_file_do_what_yaml_and_option_do(run: Run):
    by_keys = only(run(name="v"))
    option = {"sd_noise_schedule": "Zero Terminal SNR"}
    assert by_keys.tobytes() == only(run(name="v-yaml", override_settings=option)).tobytes()
    assert by_keys.tobytes() != only(run(name="v-yaml")).tobytes()
    assert by_keys.tobytes() != only(run(name="base")).tobytes()


@pytest.mark.parametrize(
    "option", [{"sdxl_crop_top": 128}, {"sdxl_crop_left": 128}, {"sdxl_clip_l_skip": True}]
)
def test_an_option_of_sdxl_changes_the_image(run: Run, option: dict[str, Any]):
    assert only(run(override_settings=option)).tobytes() != only(run()).tobytes()


def test_prompt_editing_changes_the_pooled_output_with_the_step(run: Run):
    # The last steps of so small a network change less than a level; a high scale enlarges what the texts do.
    pixels = {
        prompt: only(run(prompt=prompt, cfg_scale=60)).tobytes()
        for prompt in (
            "[a red circle:a blue square:1]",
            "a red circle",
            "a blue square",
            "a red circle AND a blue square:0.5",
        )
    }
    assert len(set(pixels.values())) == 4


def test_a_batch_is_its_single_images(run: Run):
    batch = [image for _, image in run(batch_size=2).images]
    for number, image in enumerate(batch):
        single = np.asarray(only(run(seed=SMALL.seed + number)), np.int16)
        assert np.abs(np.asarray(image, np.int16) - single).max() <= 1


@pytest.mark.parametrize("upscaler", ["Latent", "Lanczos"])
@pytest.mark.parametrize("name", ["base", "paint"])
def test_a_hires_pass_works_with_nine_channels_too(run: Run, name: str, upscaler: str):
    listener = run(name=name, enable_hr=True, hr_upscaler=upscaler, hr_scale=1.5)
    assert only(listener).size == (96, 96)


def test_a_crop_of_the_hires_pass_is_told_to_the_unet(run: Run):
    cropped = run(enable_hr=True, hr_upscaler="Latent", hr_resize_x=128, hr_resize_y=64)
    assert only(cropped).size == (128, 64)


@pytest.mark.parametrize("name", ["base", "paint", "v"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mask": True, "inpainting_fill": 1},
        {"mask": True, "inpainting_fill": 2, "inpaint_full_res": True},
        {"mask": True, "soft_inpainting_enabled": True},
        {"outpaint_right": 64, "width": 128},
    ],
)
def test_images_are_repainted(run: Run, name: str, changes: dict[str, Any]):
    fields = dict(changes)
    request = image_request(**({"mask": mask()} if fields.pop("mask", False) else {}))
    image = only(run(request, name, **fields))
    assert image.size == (fields.get("width", 64), 64)


def test_tiling_makes_the_edges_meet(run: Run):
    assert only(run(override_settings={"tiling": True})).tobytes() != only(run()).tobytes()


def test_an_eight_channel_unet_gets_no_image_in_txt2img(run: Run):
    assert only(run(name="edit")).size == (64, 64)


def test_the_process_is_recorded(run: Run):
    listener = run(record=True)
    (recording,) = listener.recordings
    assert len(recording.steps) == 3
