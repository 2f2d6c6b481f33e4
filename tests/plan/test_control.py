"""Units of ControlNet are resolved when a job is submitted, and what cannot work is refused with what would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import BadFile, NotFound, UserError, WebUIError
from modules.models.index import ModelIndex
from modules.params.image import ImageField
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.units.control_types import list_control_types
from tests.models.control import control_shapes as shapes
from tests.models.model_files import CONFIGS, shapes_of, write_safetensors

PICTURE = ImageField.from_pil(Image.new("RGB", (512, 512)))
UNIT = ControlUnit(enabled=True, image=PICTURE, model="canny")
HIRES = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ModelIndex:
    folder = tmp_path_factory.mktemp("models")
    for name in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        write_safetensors(folder / f"{name}.safetensors", shapes_of(name))
    control = {
        "canny": shapes.original("sd1"),
        "canny-hires": shapes.original("sd1", ""),
        "xl": shapes.SDXL_DIFFUSERS,
        "union": shapes.UNION,
        "hed": {"moduleVggOne.0.weight": [64, 3, 3, 3]},
    }
    control["canny"] |= {
        f"control_model.zero_convs.{n}.0.weight": [320, 320, 1, 1] for n in range(12)
    }
    for name, content in control.items():
        write_safetensors(folder / "control" / f"{name}.safetensors", content)
    folders = {"Checkpoint": [folder], "ControlNet": [folder / "control"]}
    return ModelIndex(folders, CONFIGS, folder)


def plan(
    index: ModelIndex,
    *units: ControlUnit,
    checkpoint: str = "sd1",
    request: GenerationRequest | None = None,
    **changes: object,
) -> Plan:
    request = (request or Txt2ImgRequest(width=512, height=512)).replace(**changes)
    found = next(one for one in index.checkpoints() if one.stem == checkpoint)
    return make_plan(request.replace(control_units=units), index, found)


def test_a_unit_has_its_model_and_one_that_is_off_is_left_out(index: ModelIndex):
    planned = plan(index, UNIT.replace(enabled=False, model="gone"), UNIT.replace(weight=0.5))
    (unit,) = planned.control
    assert (unit.index, unit.unit.weight, unit.is_soft) == (1, 0.5, False)
    assert unit.model is not None
    assert unit.model.stem == "canny"
    assert unit.model.path in planned.model_paths
    assert plan(index).control == ()
    assert planned.without_images().control[0].unit.image is None


def test_preprocessing_is_planned_with_its_numbers(index: ModelIndex):
    unit = UNIT.replace(module="canny", processor_res=640, threshold_a=50)
    made = plan(index, unit).control[0].preprocessing
    assert made is not None
    assert (made.resolution, made.a, made.b) == (640, 50, 200)
    wide = ImageField.from_pil(Image.new("RGB", (2000, 1000)))
    perfect = unit.replace(pixel_perfect=True, image=wide)
    made = plan(index, perfect).control[0].preprocessing
    assert made is not None
    assert made.resolution == 512
    assert plan(index, UNIT).control[0].preprocessing is None


def test_the_hires_option_chooses_the_passes(index: ModelIndex):
    units = [UNIT.replace(hr_option=o) for o in ("Both", "Low res only", "High res only")]
    planned = plan(index, *units, **HIRES)
    assert planned.hires is not None
    assert [unit.index for unit in planned.control] == [0, 1]
    assert [unit.index for unit in planned.hires.plan.control] == [0, 2]
    # Thin lines count less in a larger second pass.
    canny = plan(index, UNIT.replace(module="canny"), UNIT, **HIRES)
    assert canny.hires is not None
    assert [unit.is_soft for unit in canny.control] == [False, False]
    assert [unit.is_soft for unit in canny.hires.plan.control] == [True, False]


def test_a_refiner_of_another_family_is_left_alone_with_a_note(index: ModelIndex):
    planned = plan(
        index,
        UNIT.replace(model="xl"),
        checkpoint="sdxl",
        refiner_checkpoint="sdxl-refiner",
        refiner_switch_at=0.8,
        width=1024,
        height=1024,
    )
    assert planned.refiner is not None
    assert planned.control
    assert planned.refiner.plan.control == ()
    assert any("ends where sdxl-refiner" in note for note in planned.notes)


@pytest.mark.parametrize(
    ("changes", "checkpoint", "error", "message"),
    [
        (
            {},
            "sdxl",
            UserError,
            r"ControlNet unit 0: 'canny [hash]' is for SD 1.x, and 'sdxl.safetensors' is SDXL. Choose 'union",
        ),
        ({}, "sd2", UserError, "is SD 2.x. models/ControlNet has none for SD 2.x."),
        (
            {"model": "None"},
            "sd1",
            NotFound,
            "ControlNet unit 0 has no control model. Choose 'canny",
        ),
        ({"model": "cany"}, "sd1", NotFound, "There is no control model named 'cany'."),
        ({"model": "hed"}, "sd1", BadFile, "'hed.safetensors' is no control model"),
        ({"image": None}, "sd1", NotFound, "ControlNet unit 0 has no picture. Add one"),
        ({"module": "cany"}, "sd1", NotFound, "'cany'"),
        (
            {"more_images": (PICTURE,)},
            "sd1",
            UserError,
            "ControlNet unit 0 has 2 pictures, and 'canny [hash]' takes one. Only an IP-Adapter",
        ),
        (
            {"guidance_start": 0.5, "guidance_end": 0.25},
            "sd1",
            UserError,
            "ends at 0.25 of the steps, before it begins at 0.5",
        ),
        ({"model": "union"}, "sdxl", UserError, "Choose the union control type"),
        (
            {"advanced_weighting": (1.0,) * 10},
            "sd1",
            UserError,
            "has 10 advanced weights, and 'canny [hash]' has 13 outputs. Give 13 numbers, or none.",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_work_is_refused_with_what_would(
    index: ModelIndex,
    changes: dict[str, object],
    checkpoint: str,
    error: type[WebUIError],
    message: str,
):
    with pytest.raises(error) as caught:
        plan(index, UNIT.replace(**changes), checkpoint=checkpoint)
    text = re.sub(r"\[[0-9a-f]{8}\]", "[hash]", str(caught.value))
    assert message in text


def test_a_picture_of_other_proportions_is_noted(index: ModelIndex):
    wide = UNIT.replace(image=ImageField.from_pil(Image.new("RGB", (640, 320))))
    notes = plan(index, wide).notes
    assert (
        "ControlNet unit 0: its picture is 640x320 and the result 512x512; its edges were cropped."
        in notes
    )
    assert not any("unit 0" in note for note in plan(index, UNIT).notes)


def test_img2img_needs_no_picture_of_its_own(index: ModelIndex):
    request = Img2ImgRequest(width=512, height=512, init_image=PICTURE)
    assert plan(index, UNIT.replace(image=None), request=request).control


def test_a_union_model_with_its_type_and_a_model_free_unit_are_planned(
    index: ModelIndex,
):
    union = UNIT.replace(model="union", union_control_type="Depth")
    assert plan(index, union, checkpoint="sdxl", width=1024, height=1024).control
    union = UNIT.replace(model="union", module="canny")
    told = plan(index, union, checkpoint="sdxl", width=1024, height=1024)
    assert told.control[0].unit.union_control_type == "Hard Edge", "by its preprocessor"
    assert told.request.control_units[0].union_control_type == "Hard Edge", "so does the infotext"
    (reference,) = plan(index, UNIT.replace(model="None", module="reference_only")).control
    assert reference.model is None


def test_a_models_yaml_says_whether_its_outputs_are_pooled_or_else_its_name(tmp_path: Path):
    write_safetensors(tmp_path / "sd1.safetensors", shapes_of("sd1"))
    texts = {
        "shuffle": "",
        "plain": "",
        "mean": "global_average_pooling: true",
        "no-shuffle": "global_average_pooling: false",
        "other-shuffle": "control_key: hint",
    }
    for name, text in texts.items():
        file = write_safetensors(tmp_path / "c" / f"{name}.safetensors", shapes.original("sd1"))
        if text:
            file.with_suffix(".yaml").write_text(f"model:\n  params:\n    {text}\n")
    folders = {"Checkpoint": [tmp_path], "ControlNet": [tmp_path / "c"]}
    index = ModelIndex(folders, CONFIGS, tmp_path)
    pools = {name: plan(index, UNIT.replace(model=name)).control[0].pools for name in texts}
    assert [name for name, pooled in pools.items() if pooled] == [
        "shuffle",
        "mean",
        "other-shuffle",
    ]


def test_a_control_type_begins_on_the_page_with_what_needs_no_file_of_the_users():
    ready = {row.name: row.ready_module.name for row in list_control_types(())}
    assert ready["Canny"] == "canny"
    assert ready["Scribble"] == "invert (from white bg & black line)", "not scribble_pidinet"
    assert ready["Depth"] == "depth_midas", "a depth checkpoint has its network"
    assert ready["OpenPose"] == "openpose_full", "there is no other"
