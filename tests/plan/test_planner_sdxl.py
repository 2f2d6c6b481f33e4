"""Plans for SDXL: its options, its sizes, its noise schedule, and its refiner, which is no checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.core.errors import UserError
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from tests.models.model_files import shapes_of, write_safetensors

CROP = {"sdxl_crop_top": 64, "sdxl_crop_left": 32, "sdxl_clip_l_skip": True}


@pytest.fixture
def folder(paths: Paths) -> Path:
    return paths.checkpoint_folders[0]


@pytest.fixture
def plan(idle_engine: Engine, folder: Path):
    write_safetensors(folder / "xl.safetensors", shapes_of("sdxl"))

    def plan(name: str = "xl", **values: Any) -> Plan:
        idle_engine.models.refresh()
        request = Txt2ImgRequest(**{"seed": 1, "width": 1024, "height": 1024, **values})
        return idle_engine.planner.plan(
            request, idle_engine.settings.replace(sd_model_checkpoint=name)
        )

    return plan


def test_its_options_count_for_sdxl_alone(plan):
    assert plan(override_settings=CROP).settings.sdxl_crop_top == 64
    settings = plan("first", override_settings=CROP).settings
    assert (settings.sdxl_crop_top, settings.sdxl_crop_left) == (0, 0)
    assert not settings.sdxl_clip_l_skip


def test_the_scores_of_the_refiner_do_not_count_for_the_base_model(plan):
    scores = {"sdxl_refiner_high_aesthetic_score": 9.0}
    assert plan(override_settings=scores).settings.sdxl_refiner_high_aesthetic_score == 6.0


def test_clip_skip_is_stated_as_a1111_does(plan):
    skip = plan(override_settings={"CLIP_stop_at_last_layers": 2})
    assert skip.settings.CLIP_stop_at_last_layers == 2


@pytest.mark.parametrize(
    ("size", "is_small"),
    [
        ((1024, 1024), False),
        ((832, 1216), False),
        ((640, 1536), False),
        ((512, 512), True),
        ((768, 1024), True),
    ],
)
def test_a_size_below_those_it_was_trained_on_is_noted(plan, size: tuple[int, int], is_small: bool):
    notes = plan(width=size[0], height=size[1]).notes
    assert [note for note in notes if "was made for 1024x1024" in note] == (
        ["xl.safetensors was made for 1024x1024 pixels; smaller pictures come out worse."]
        if is_small
        else []
    )


def test_a_file_trained_from_pure_noise_gets_that_schedule_unless_told_otherwise(
    plan, folder: Path
):
    write_safetensors(folder / "noob.safetensors", shapes_of("sdxl") | {"ztsnr": [0]})
    assert plan("noob").settings.sd_noise_schedule == "Zero Terminal SNR"
    default = {"sd_noise_schedule": "Default"}
    assert plan("noob", override_settings=default).settings.sd_noise_schedule == "Default"
    assert plan("xl").settings.sd_noise_schedule == "Default"


def test_align_your_steps_has_sigmas_of_its_own_for_sdxl(plan):
    xl = plan(scheduler="Align Your Steps").schedule
    other = plan("first", scheduler="Align Your Steps").schedule
    assert xl.name == other.name
    assert xl.sigmas is not other.sigmas


def test_a_refiner_is_no_checkpoint_but_may_make_the_hires_pass(plan, folder: Path):
    write_safetensors(folder / "refiner.safetensors", shapes_of("sdxl-refiner"))
    with pytest.raises(UserError, match=r"'refiner.safetensors' is a refiner: it finishes"):
        plan("refiner")
    hires = plan(enable_hr=True, hr_checkpoint_name="refiner").hires
    assert hires is not None
    assert hires.plan.checkpoint.name == "refiner.safetensors"


def test_the_mask_weight_is_stated_where_an_image_is_repainted(plan, idle_engine, folder: Path):
    write_safetensors(folder / "paint.safetensors", shapes_of("sdxl-inpainting"))
    assert "inpainting_mask_weight" not in plan("paint").stated_options
    assert idle_engine.models.get_family(plan("paint").checkpoint).extra_input == "inpaint"
