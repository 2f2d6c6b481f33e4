"""Whole runs of SDXL, and of its inpainting kind, with units of adapters and reference images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.backend.runner import Runner
from modules.models.files.scan import scan_folder
from modules.models.index import ModelIndex
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.planner import make_plan
from modules.plan.units.planned_unit import PlannedUnit
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints_sdxl import CLIP_G_WIDTH, UNET, tiny_unet, write_sdxl
from tests.backend.control.adapter_files import (
    ip_adapter_weights,
    random_image,
    save,
    vision_encoder,
)
from tests.backend.control.test_lllite import weights_of
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

SMALL = Txt2ImgRequest(prompt="a red circle", width=64, height=64, steps=2, seed=7)
PICTURE = ImageField.from_pil(Image.fromarray(random_image(64, 64)))
UNIT = ControlUnit(enabled=True, image=PICTURE)
LAYERS = {
    "middle_block_1_transformer_blocks_0_attn1_to_q": "mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
    "input_blocks_3_1_transformer_blocks_1_attn2_to_q": "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_q",
}
Generate = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    write_sdxl(folder / "base.safetensors")
    write_sdxl(folder / "paint.safetensors", replace(UNET, in_channels=9))
    (folder / "control").mkdir()
    save(folder / "control" / "ip.safetensors", ip_adapter_weights(tiny_unet(), "plus"))
    save(folder / "control" / "lllite.safetensors", weights_of(tiny_unet(), LAYERS))
    save(folder / "vision.bin", vision_encoder(embedding=CLIP_G_WIDTH).state_dict())
    return folder


@pytest.fixture(scope="module")
def generate(folder: Path, tokenizer: ClipTokenizer) -> Generate:
    runner = Runner(DeviceOptions(use_cpu=True), tokenizer)
    folders = {"Checkpoint": [folder], "ControlNet": [folder / "control"]}
    models = ModelIndex(folders, ROOT / "configs", folder / "cache")
    (encoder,) = scan_folder(folder, (".bin",))

    def generate(*units: ControlUnit, name: str = "base", **changes: Any) -> np.ndarray:
        # Planned by hand: so small a model is told to be of no family.
        planned = tuple(
            PlannedUnit(
                index,
                unit,
                None if unit.module.startswith(("ref", "rev")) else models.control.find(unit.model),
                image_encoder=encoder,
            )
            for index, unit in enumerate(units)
        )
        plan = make_plan(SMALL.replace(**changes), models, models.find_checkpoint(name))
        listener = RecordingListener()
        runner.run(replace(plan, control=planned), listener, listener.cancel)
        ((_, image),) = listener.images
        return np.asarray(image, np.int16)

    return generate


@pytest.mark.parametrize("name", ["base", "paint"])
def test_every_unit_changes_the_picture(generate: Generate, name: str) -> None:
    plain = generate(name=name)
    units = (
        UNIT.replace(model="ip"),
        UNIT.replace(model="lllite"),
        UNIT.replace(module="reference_adain+attn"),
    )
    for unit in units:
        assert np.abs(generate(unit, name=name) - plain).mean() > 0.02, unit
    assert np.abs(generate(*units, name=name) - plain).mean() > 0.1
    assert np.array_equal(generate(name=name), plain)


def test_an_inpainting_checkpoint_sees_the_mask_of_a_unit(generate: Generate) -> None:
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    unit = UNIT.replace(model="lllite", module="inpaint_global_harmonious")
    masked = unit.replace(mask=ImageField.from_pil(half, MASK))
    distances = [
        np.abs(generate(masked, name=name) - generate(unit, name=name)).mean()
        for name in ("base", "paint")
    ]
    assert distances[1] > 2 * distances[0]


def test_revision_takes_the_place_of_the_pooled_text(generate: Generate) -> None:
    plain = generate()
    unit = UNIT.replace(module="revision_clipvision")
    changed = generate(unit)
    assert np.abs(changed - plain).mean() > 0.02
    assert np.array_equal(generate(unit.replace(guidance_start=0.9)), plain)
    assert not np.array_equal(generate(unit.replace(threshold_a=0.5)), changed)
    ignoring = unit.replace(module="revision_ignore_prompt")
    assert np.array_equal(generate(ignoring, prompt="a fox"), generate(ignoring))
    assert not np.array_equal(generate(unit, prompt="a fox"), changed)
