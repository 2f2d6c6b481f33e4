"""ControlNet units as clients send them: webuiapi's and Krita AI's requests, every field, old names, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.sdapi.always_on import merge_always_on
from modules.api.sdapi.requests.control_units import read_control_args
from modules.api.sdapi.requests.schema import make_schema
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import is_image_field
from modules.params.requests.control_unit import UNIT_IMAGES, ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import FakeExecutor
from tests.models.control.control_files import write_tiny_controlnet

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 3, "seed": 5}


def png(colour: str = "red", mode: str = "RGB") -> str:
    buffer = io.BytesIO()
    Image.new(mode, (8, 4), colour).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE, MASK = png(), png("white", "L")
# `ControlNetUnit(image=…, mask=…, module="canny", model="sketch").to_dict()` of webuiapi 0.9.17.
WEBUIAPI_UNIT = {
    "image": PICTURE,
    "mask": MASK,
    "module": "canny",
    "model": "sketch",
    "weight": 1.0,
    "resize_mode": "Resize and Fill",
    "low_vram": False,
    "processor_res": 512,
    "threshold_a": 64,
    "threshold_b": 64,
    "guidance_start": 0.0,
    "guidance_end": 1.0,
    "control_mode": "Balanced",
    "pixel_perfect": False,
    "hr_option": "Both",
    "enabled": True,
}
# Of Krita AI's backend for A1111: a unit without "enabled" is on.
KRITA_INPAINT = {
    "prompt": "a hat",
    "steps": 20,
    "cfg_scale": 5,
    "width": 64,
    "height": 64,
    "alwayson_scripts": {
        "controlnet": {
            "args": [
                {
                    "input_image": PICTURE,
                    "mask": MASK,
                    "module": "inpaint_only",
                    "model": "sketch",
                    "control_mode": "ControlNet is more important",
                    "pixel_perfect": True,
                }
            ]
        }
    },
    "sampler_index": "DDIM",
}
KRITA_UPSCALE_UNIT = {
    "input_image": PICTURE,
    "module": "tile_resample",
    "model": "sketch",
    "control_mode": "Balanced",
}


def read(*units: object) -> tuple[ControlUnit, ...]:
    return read_control_args(list(units))["control_units"]


def post(client: TestClient, status: int = 200, task: str = "txt2img", **body: Any) -> Any:
    response = client.post(f"/sdapi/v1/{task}", json={**SMALL, **body})
    assert response.status_code == status, response.text
    return response.json()


@pytest.fixture
def model(engine: Engine) -> str:
    """A control model that fits the checkpoint."""
    write_tiny_controlnet(engine.paths.data / "models" / "ControlNet" / "sketch.safetensors")
    return "sketch"


def units_of(executor: FakeExecutor) -> tuple[ControlUnit, ...]:
    """Return the units that the device got."""
    assert executor.last_plan is not None
    return executor.last_plan.request.control_units


@pytest.mark.usefixtures("model")
def test_the_unit_of_webuiapi_arrives_whole(client: TestClient, executor: FakeExecutor):
    answer = post(client, alwayson_scripts={"ControlNet": {"args": [WEBUIAPI_UNIT]}})
    (unit,) = units_of(executor)
    assert unit.image is not None and unit.image.size == (8, 4)
    assert unit.mask is not None and unit.mask.mode == "L"
    assert (unit.resize_mode, unit.threshold_b, unit.enabled) == ("Resize and Fill", 64, True)
    info = json.loads(answer["info"])
    assert 'ControlNet 0: "Module: canny, Model: sketch [' in info["infotexts"][0]
    assert "control_units" not in info


@pytest.mark.usefixtures("model")
def test_what_the_models_have_seen_is_appended_to_the_images(client: TestClient):
    silent = {**WEBUIAPI_UNIT, "image": png("blue"), "save_detected_map": False}
    script = {"controlnet": {"args": [silent, WEBUIAPI_UNIT]}}
    images = post(client, alwayson_scripts=script)["images"]
    assert len(images) == 2
    with Image.open(io.BytesIO(base64.b64decode(images[1]))) as seen:
        assert (seen.size, seen.getpixel((0, 0))) == ((8, 4), (255, 0, 0))
    assert post(client, alwayson_scripts=script, send_images=False)["images"] == []


def test_several_pictures_of_a_unit_arrive():
    pictures = [{"image": png(colour), "mask": None} for colour in ("red", "lime", "blue")]
    (unit,) = read({**WEBUIAPI_UNIT, "image": pictures})
    assert [image.to_pil().getpixel((0, 0)) for image in unit.more_images] == [
        (0, 255, 0),
        (0, 0, 255),
    ]
    assert read({**WEBUIAPI_UNIT, "more_images": [png("lime"), png("blue")]}) == (unit,)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("script_name", "script_args", "count"),
    [
        ("prompt matrix", [False, False, "positive", "comma", 0], 5 + 1),
        ("prompts from file or textbox", [False, False, "start", "a dog\na cat"], 2 + 1),
        # Of these sd-webui-controlnet's answer has none either.
        ("x/y/z plot", {"x_type": "Steps", "x_values": "2, 3", "include_lone_images": True}, 3),
    ],
)
def test_scripts_that_return_all_images_append_what_the_models_have_seen_once(
    client: TestClient, script_name: str, script_args: Any, count: int
):
    unit = {**WEBUIAPI_UNIT, "module": "none", "mask": None}
    units = {"controlnet": {"args": [unit]}}
    body = {"prompt": "a|b|c", "script_name": script_name, "script_args": script_args}
    assert len(post(client, alwayson_scripts=units, **body)["images"]) == count
    if script_name.startswith("prompts"):  # so does a batch of init images
        init = {"init_images": [png("lime"), png("blue")], "task": "img2img"}
        assert len(post(client, alwayson_scripts=units, **init)["images"]) == count
    unit["save_detected_map"] = False
    without = len(post(client, alwayson_scripts=units, **body)["images"])
    assert without == (count if script_name == "x/y/z plot" else count - 1)


@pytest.mark.usefixtures("model")
def test_krita_ais_requests_are_answered(client: TestClient, executor: FakeExecutor):
    post(client, **KRITA_INPAINT)
    (unit,) = units_of(executor)
    assert unit.enabled and unit.image is not None and unit.mask is not None
    assert (unit.control_mode, unit.pixel_perfect) == ("ControlNet is more important", True)
    script = {"controlnet": {"args": [KRITA_UPSCALE_UNIT]}}
    post(client, task="img2img", init_images=[PICTURE], alwayson_scripts=script)
    assert units_of(executor)[0].module == "tile_resample"


@pytest.mark.parametrize("args", [[], [None], [{"enabled": False, "model": "gone"}], [{}], None])
def test_without_a_unit_that_is_on_nothing_changes(args: object):
    body = {"prompt": "a", "alwayson_scripts": {"controlNet": {"args": args}}}
    assert merge_always_on(body, "txt2img") == {"prompt": "a", "control_units": ()}


def test_every_field_of_the_api_is_read():
    sent = {
        "enabled": True,
        "module": "depth_midas",
        "model": "depth [1234abcd]",
        "weight": 0.5,
        "image": PICTURE,
        "mask": MASK,
        "resize_mode": 2,
        "control_mode": 1,
        "hr_option": "Low res only",
        "pixel_perfect": True,
        "processor_res": 384,
        "threshold_a": 0.25,
        "threshold_b": 3,
        "guidance_start": 0.1,
        "guidance_end": 0.9,
        "inpaint_crop_input_image": False,
        "save_detected_map": False,
        "union_control_type": "Soft Edge",
        "advanced_weighting": [0.5] * 13,
        "effective_region_mask": MASK,
        # accepted and without effect
        "low_vram": True, "is_ui": False, "input_mode": "simple", "batch_images": "", "output_dir": "",
        "animatediff_batch": False, "pulid_mode": "Fidelity", "ipadapter_input": None, "new": 1,
    }  # fmt: skip
    (unit,) = read(sent)
    assert unit.model_dump(exclude=set(UNIT_IMAGES)) == {
        **{name: sent[name] for name, it in ControlUnit.model_fields.items() if name in sent and not is_image_field(it)},
        "resize_mode": "Resize and Fill", "control_mode": "My prompt is more important",
        "advanced_weighting": (0.5,) * 13,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input_image": PICTURE, "lowvram": True, "guidance": 0.7}, {"guidance_end": 0.7}),
        ({"image": {"image": PICTURE, "mask": MASK}}, {}),
        ({"image": [PICTURE, MASK]}, {}),
        ({"image": [{"image": PICTURE, "mask": MASK}]}, {}),
        ({"image": PICTURE, "mask_image": MASK}, {}),
        ({"resize_mode": "Scale to Fit (Inner Fit)"}, {"resize_mode": "Crop and Resize"}),
        ({"resize_mode": "Envelope (Outer Fit)"}, {"resize_mode": "Resize and Fill"}),
        ({"processor_res": -5, "threshold_a": None}, {"processor_res": -1, "threshold_a": -1}),
        ({"control_mode": 2}, {"control_mode": "ControlNet is more important"}),
    ],
)
def test_other_spellings_mean_the_same(fields: Mapping[str, Any], expected: Mapping[str, Any]):
    (unit,) = read({"enabled": True, "module": "canny", "model": "m", **fields})
    assert {name: getattr(unit, name) for name in expected} == expected
    assert (unit.image is not None) == any("image" in name for name in fields)
    assert (unit.mask is not None) == (MASK in str(fields))


def test_off_units_keep_their_place():
    first, second = read({"enabled": False, "image": "/etc/passwd"}, {"enabled": True})
    assert (first, second.enabled) == (ControlUnit(), True)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"image": "/home/me/picture.png"}, "'/home/me/picture.png' is no picture in base64"),
        ({"image": "/etc/passwd1"}, "Paths of files are not read."),
        ({"image": "http://127.0.0.1/a.png"}, "the server fetches none"),
        ({"mask": 5}, "ControlNet unit 0: mask is int."),
        ({"ipadapter_input": "gASV"}, "ipadapter_input, which is a pickle"),
        ({"weight": 3}, "Control weight is 3; the largest valid value is 2."),
        ({"resize_mode": "Squeeze"}, "Resize mode is 'Squeeze'; use"),
        ({"resize_mode": 7}, "Resize mode is 7; use"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(unit: Mapping[str, Any], words: str):
    with pytest.raises(UserError, match="ControlNet unit 0") as error:
        read({"enabled": True, "module": "canny", **unit})
    assert words in str(error.value)


def test_arguments_of_another_shape_are_refused(client: TestClient):
    answer = post(client, 422, alwayson_scripts={"controlnet": {"args": "canny"}})
    assert "a list of units is needed" in answer["detail"]
    with pytest.raises(UserError, match="the most is 10"):
        read(*[{}] * 11)


def test_a_model_that_is_not_here_is_named(client: TestClient):
    unit = {**WEBUIAPI_UNIT, "model": "control_v11p_sd15_canny [d14c016b]"}
    answer = post(client, 404, alwayson_scripts={"controlnet": {"args": [unit]}})
    assert (
        "There is no control model named 'control_v11p_sd15_canny [d14c016b]'." in answer["detail"]
    )


@pytest.mark.usefixtures("model")
def test_the_jobs_api_takes_units_as_fields(client: TestClient, executor: FakeExecutor):
    unit = {"enabled": True, "module": "canny", "model": "sketch", "image": PICTURE}
    body = {**SMALL, "task": "txt2img", "control_units": [{}, unit]}
    answer = client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 202 and PICTURE not in answer.text
    executor.wait_until_idle()
    off, on = units_of(executor)
    assert (off.enabled, on.enabled) == (False, True)
    assert on.image is not None and on.image.size == (8, 4)
    refused = client.post("/api/v1/jobs", json={**body, "control_units": [{"wait": 1}]})
    assert refused.status_code == 422
    assert "ControlNet unit 0: There is no field 'wait'." in refused.json()["detail"]


def test_units_are_described_in_the_schema():
    units = make_schema(Txt2ImgRequest, {}, {})["properties"]["control_units"]
    (array, _) = units["anyOf"]
    fields = array["items"]["properties"]
    assert fields["image"]["anyOf"][0]["contentEncoding"] == "base64"
    assert fields["weight"]["anyOf"][0] == {"maximum": 2, "minimum": 0, "type": "number"}
    assert "$ref" not in json.dumps(units)


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("script_name", "script_args", "count"),
    [
        ("loopback", {"loops": 2}, 3),
        ("sd upscale", {"overlap": 0, "upscaler": "None"}, 1),
        ("x/y/z plot", {"x_type": "[ControlNet] Weight", "x_values": "0.5, 0.75"}, 1),
    ],
)
def test_each_cell_of_a_script_has_the_units(
    client: TestClient, executor: FakeExecutor, script_name: str, script_args: Any, count: int
):
    own = {"image": PICTURE, "model": "sketch", "enabled": True}
    script = {"script_name": script_name, "script_args": script_args}
    answer = post(
        client,
        task="img2img",
        init_images=[png("blue")],
        alwayson_scripts={"controlnet": {"args": [own, {**own, "image": None}]}},
        **script,
    )
    assert len(answer["images"]) == count
    first, second = units_of(executor)
    assert first.image is not None and first.image.to_pil().getpixel((0, 0)) == (255, 0, 0)
    assert second.image is None, "it takes the init image: of a loop, or of a tile"
    is_weight = script_name == "x/y/z plot"
    assert first.weight == second.weight == (0.75 if is_weight else 1)
    for text in json.loads(answer["info"])["infotexts"]:
        assert "ControlNet 0: " in text and "ControlNet 1: " in text
