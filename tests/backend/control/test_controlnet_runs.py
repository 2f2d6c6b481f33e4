"""Whole runs with ControlNet units, on a tiny random model: units, modes, steps and passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.backend.control.controlnet import ControlNetStep, ControlNetwork
from modules.backend.control.unit_schedule import UnitSchedule
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.device import choose_device
from modules.backend.memory.offload import is_offloaded, networks_of, offload_in_turn
from modules.backend.model import LoadedModel
from modules.backend.upscale.upscalers import Upscalers
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.batches import generate_batch
from tests.backend.checkpoints import write_checkpoint
from tests.backend.control import control_files as files
from tests.backend.tiny import RecordingListener, random_cond, tiny_components
from tests.conftest import ROOT

UPSCALERS = Upscalers(choose_device(DeviceOptions(use_cpu=True)))
SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7)
Generate = Callable[..., np.ndarray]


def picture(width: int = 64, height: int = 64) -> ImageField:
    image = Image.new("RGB", (width, height))
    ImageDraw.Draw(image).ellipse((8, 8, 40, 50), outline="white", width=2)
    return ImageField.from_pil(image)


UNIT = ControlUnit(enabled=True, image=picture(), model="line")


@pytest.fixture(scope="module")
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    return LoadedModel(tiny_components(), tokenizer)


@pytest.fixture
def folder(tmp_path: Path, model: LoadedModel) -> Path:
    write_checkpoint(tmp_path / "any.safetensors")
    unet = model.components.unet
    for name, seed in (("line", 1), ("other", 2), ("shuffle", 1)):
        network = files.make_controlnet(unet, seed)
        weights = files.original_weights(network)
        files.write_control(tmp_path / "control", f"{name}.safetensors", weights)
    return tmp_path


@pytest.fixture
def generate(model: LoadedModel, folder: Path) -> Generate:
    def generate(
        *units: ControlUnit,
        request: GenerationRequest = SMALL,
        notes: list[str] | None = None,
        **changes: Any,
    ) -> np.ndarray:
        index = ModelIndex(
            {"Checkpoint": [folder], "ControlNet": [folder / "control"]}, ROOT / "configs", folder
        )
        request = request.replace(control_units=units, **changes)
        plan = make_plan(request, index, index.find_checkpoint("any"))
        listener = RecordingListener()
        with torch.inference_mode():
            generate_batch(lambda _: model, UPSCALERS, plan, 0, listener, listener.cancel)
        if notes is not None:
            notes.extend(plan.notes)
        return np.stack([np.asarray(image, np.int16) for _, image in listener.images])

    return generate


def test_a_unit_changes_the_picture_and_one_that_is_off_or_weighs_nothing_does_not(
    generate: Generate,
):
    plain = generate()
    controlled = generate(UNIT)
    assert np.abs(controlled - plain).mean() > 1
    assert np.array_equal(generate(UNIT), controlled)
    assert np.array_equal(generate(UNIT.replace(enabled=False)), plain)
    assert np.array_equal(generate(UNIT.replace(weight=0)), plain)
    assert np.array_equal(generate(UNIT.replace(guidance_start=0.9)), plain)
    black = UNIT.replace(effective_region_mask=ImageField.from_pil(Image.new("L", (64, 64)), MASK))
    assert np.array_equal(generate(black), plain)


def test_units_are_summed_and_their_modes_and_weights_count(generate: Generate):
    one = generate(UNIT)
    both = generate(UNIT, UNIT.replace(model="other"))
    assert np.abs(both - one).mean() > 0.5
    pictures = [
        one,
        both,
        generate(UNIT.replace(weight=0.5)),
        generate(UNIT.replace(control_mode="My prompt is more important")),
        generate(UNIT.replace(control_mode="ControlNet is more important")),
        generate(UNIT.replace(guidance_end=0)),
        generate(UNIT.replace(model="shuffle")),
        generate(UNIT.replace(image=picture(32, 64), resize_mode="Resize and Fill")),
    ]
    distinct = {image.tobytes() for image in pictures}
    assert len(distinct) == len(pictures)
    # Two units of half the weight are one.
    halves = generate(UNIT.replace(weight=0.5), UNIT.replace(weight=0.5))
    assert np.abs(halves - one).max() <= 1


def test_an_evaluation_equals_that_of_the_stock_networks(model: LoadedModel):
    components = model.components
    stock = files.make_controlnet(components.unet, 1)
    generator = torch.Generator().manual_seed(3)
    x, states = torch.randn(2, 4, 8, 8, generator=generator), random_cond(1).repeat(2, 1, 1)
    hint = torch.rand(1, 3, 64, 64, generator=generator)
    with torch.no_grad():
        down, middle = stock(x, 500, states, hint, 0.7, return_dict=False)
        wanted = components.unet(
            x,
            500,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        )[0]
        network = ControlNetwork(
            files.make_controlnet(components.unet, 1), torch.device("cpu"), stays=True
        )
        step = ControlNetStep(network, network.encode(hint), UnitSchedule(0, 1, 20, 1), (0.7,) * 5)
        call = step.unet_call(UNetCall(x, torch.tensor(500.0), states, 0, {}, (True, False)))
        made = components.unet(call.sample, 500, states, **call.kwargs)[0]
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2},
        {"prompt": "a cat AND a dog :0.7"},
        {"override_settings": {"deep_cache_interval": 2}},
        {"override_settings": {"token_merging_ratio": 0.5, "hypertile_enable_unet": True}},
        {"override_settings": {"batch_cond_uncond": False}},
        {"override_settings": {"tiling": True}},
        {"sampler_name": "DPM++ SDE"},
        {"cfg_scale": 1},
    ],
    ids=str,
)
def test_units_go_with_whatever_else_a_step_does(generate: Generate, changes: dict[str, Any]):
    plain, controlled = generate(**changes), generate(UNIT, **changes)
    assert controlled.shape == plain.shape
    assert np.abs(controlled - plain).mean() > 0.5


def test_an_image_of_a_batch_is_what_it_is_alone(generate: Generate):
    unit = UNIT.replace(control_mode="ControlNet is more important")
    batch, alone = generate(unit, batch_size=2), generate(unit, seed=8)
    assert np.abs(batch[1] - alone[0]).max() <= 1


def test_the_hires_option_says_in_which_pass_a_unit_counts(generate: Generate):
    hires = {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
    plain = generate(**hires)
    made = {
        option: generate(UNIT.replace(hr_option=option), **hires)
        for option in ("Both", "Low res only", "High res only")
    }
    assert len({image.tobytes() for image in (plain, *made.values())}) == 4
    notes: list[str] = []
    high = generate(UNIT.replace(hr_option="High res only"), notes=notes)
    assert np.array_equal(high, generate())
    assert "ControlNet unit 0 counts in the pass of hires fix alone, and there is none." in notes


def test_img2img_takes_its_own_picture_where_a_unit_has_none(generate: Generate):
    request = Img2ImgRequest(
        prompt="a cat", width=64, height=64, steps=4, seed=7, init_image=picture()
    )
    own = generate(UNIT.replace(image=None), request=request)
    assert np.array_equal(own, generate(UNIT, request=request))
    assert not np.array_equal(own, generate(request=request))


def test_the_preprocessor_makes_the_control_picture(generate: Generate):
    photo = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    photo[20:44, 20:44] = 255
    image = ImageField.from_pil(Image.fromarray(photo))
    plain = generate(UNIT.replace(image=image))
    canny = UNIT.replace(image=image, module="canny", pixel_perfect=True)
    assert not np.array_equal(generate(canny), plain)


def test_where_idle_parts_leave_the_device_a_control_model_does_too(
    tokenizer: ClipTokenizer, folder: Path
):
    components = tiny_components(seed=31)  # of its own: it gets hooks
    index = ModelIndex(
        {"Checkpoint": [folder], "ControlNet": [folder / "control"]}, ROOT / "configs", folder
    )
    plan = make_plan(SMALL.replace(control_units=(UNIT,)), index, index.find_checkpoint("any"))

    def generate(model: LoadedModel) -> np.ndarray:
        listener = RecordingListener()
        with torch.inference_mode():
            generate_batch(lambda _: model, UPSCALERS, plan, 0, listener, listener.cancel)
        return np.asarray(listener.images[0][1])

    resident = LoadedModel(components, tokenizer)
    expected = generate(resident)
    offload_in_turn(networks_of(components), torch.device("cpu"))
    assert is_offloaded(components)
    lowered = LoadedModel(components, tokenizer)
    assert np.array_equal(generate(lowered), expected)
    (unit,) = plan.control
    assert unit.model is not None
    network = lowered.control_networks.get(unit.model, lambda: None)
    assert network is not None
    assert not network.remembers
    assert resident.control_networks.get(unit.model, lambda: None).remembers
