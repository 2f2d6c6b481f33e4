"""Whole runs with ControlNet units, on a tiny random model: units, modes, steps and passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from modules.backend.device import choose_device
from modules.backend.generate import generate_batch
from modules.backend.model import LoadedModel
from modules.backend.upscale.upscalers import Upscalers
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.control import control_files as files
from tests.backend.tiny import RecordingListener, tiny_components
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
