"""ControlNet units of forms: pictures and drawings, infotexts that fill them, and jobs that wait, are retried or restarted."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.page.form_filling import fill_from_text
from modules.engine.page.png_info import compare_with_upload, start_reproduction
from modules.engine.page.requests import make_page_request
from modules.engine.page.uploads import make_upload_store
from modules.images.metadata import make_png_info
from modules.params.image import ImageField
from modules.params.image_kinds import MASK as MASK_KIND
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.models.control.control_files import write_tiny_controlnet, write_tiny_ip_adapter

WHITE = Image.new("RGB", (32, 24), "white")
LINE = {"radius": 4, "points": [16, 12], "colour": "#ff0000"}
PICTURE, MASK = ImageField.from_pil(Image.new("RGB", (8, 8), "red")), Image.new("L", (8, 8), 255)
GONE = "0" * 64


def upload(engine: Engine, image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return make_upload_store(engine).add(buffer.getvalue()).id


def units_of(engine: Engine, *units: dict[str, Any]) -> tuple[ControlUnit, ...]:
    values = {"prompt": "a", "control_units": list(units)}
    request = make_page_request(engine, "txt2img", values)
    assert isinstance(request, Txt2ImgRequest)
    return request.control_units


def strokes(*rows: dict[str, Any]) -> str:
    return json.dumps({"picture": "an id", "size": [32, 24], "strokes": rows})


def test_units_of_a_form_have_their_pictures(engine: Engine):
    picture, region = upload(engine, WHITE), upload(engine, MASK)
    on = {"enabled": True, "image": picture, "effective_region_mask": region, "weight": 0.5}
    off, unit = units_of(
        engine,
        {"enabled": False, "image": GONE},
        {**on, "control_type": "Canny", "module": "canny"},
    )
    assert off == ControlUnit()
    assert unit.image == ImageField.from_pil(WHITE) and unit.weight == 0.5
    assert unit.effective_region_mask is not None and unit.effective_region_mask.mode == "L"
    assert units_of(engine, {"enabled": False}, {"module": "canny"}) == ()


def test_further_pictures_are_those_of_a_model_that_takes_several(engine: Engine):
    more = [upload(engine, MASK), upload(engine, WHITE)]
    on = {"enabled": True, "image": upload(engine, WHITE), "more_images": more}
    several, chosen, one = units_of(
        engine, on, {**on, "takes_several": True}, {**on, "takes_several": False}
    )
    assert [image.size for image in several.more_images] == [(8, 8), (32, 24)]
    assert chosen == several and one.more_images == ()
    with pytest.raises(NotFound, match="no longer on the server"):
        units_of(engine, {**on, "more_images": [*more, GONE]})


def test_a_drawing_becomes_a_part_of_the_picture_or_its_mask(engine: Engine):
    on = {"enabled": True, "image": upload(engine, WHITE), "image_strokes": strokes(LINE)}
    drawn, masked = units_of(engine, on, {**on, "paints_mask": True})
    assert drawn.image is not None and drawn.image.to_pil().getpixel((16, 12)) == (255, 0, 0)
    assert drawn.mask is None
    assert masked.image == ImageField.from_pil(WHITE)
    assert masked.mask is not None and masked.mask.to_pil().getpixel((16, 12)) == 255


def test_what_is_wrong_names_the_unit(engine: Engine):
    with pytest.raises(NotFound, match="no longer on the server"):
        units_of(engine, {"enabled": True, "image": GONE})
    with pytest.raises(UserError, match="ControlNet unit 1: Control weight is 5"):
        units_of(engine, {}, {"enabled": True, "weight": 5})
    other = json.dumps({"picture": "an id", "size": [9, 9], "strokes": [LINE]})
    with pytest.raises(UserError, match="ControlNet unit 0: "):
        units_of(engine, {"enabled": True, "image": upload(engine, WHITE), "image_strokes": other})


def test_an_infotext_fills_the_units_but_not_their_pictures(engine: Engine):
    write_tiny_controlnet(engine.paths.data / "models" / "ControlNet" / "sketch.safetensors")
    unit = '"Module: canny, Model: sketch [e3b0c442], Weight: 0.7, Threshold A: 50, Control Mode: Balanced"'
    text = f"a\nSteps: 4, Sampler: Euler, Seed: 1, Size: 64x64, ControlNet 1: {unit}"
    filling = fill_from_text(engine, "txt2img", text)
    off, on = filling.values["control_units"]
    assert (off["enabled"], on["enabled"], on["weight"], on["threshold_a"]) == (
        False,
        True,
        0.7,
        50,
    )
    assert on["model"].startswith("sketch [") and "image" not in on
    assert filling.messages == ("No infotext holds a control picture: add that of ControlNet 1.",)
    missing = fill_from_text(engine, "txt2img", text.replace("sketch [e3b0c442]", "other"))
    assert missing.messages[0] == (
        "The picture was made with the control model other, which is not here."
        " Put the file into models/ControlNet."
    )
    without = fill_from_text(engine, "txt2img", "a\nSteps: 4, Sampler: Euler, Seed: 1")
    assert list(without.values["control_units"]) == []


def test_pictures_outlive_a_restart_and_are_in_memory_only_while_the_job_runs(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
):
    first, _ = start_engine()
    write_tiny_controlnet(first.paths.data / "models" / "ControlNet" / "sketch.safetensors")
    mask = ImageField.from_pil(MASK, MASK_KIND)
    unit = ControlUnit(enabled=True, image=PICTURE, mask=mask, module="canny", model="sketch")
    first.queue.pause()
    request = Txt2ImgRequest(
        width=64, height=64, enable_hr=True, hr_scale=2, control_units=(ControlUnit(), unit)
    )
    waiting = first.submit(request)
    assert waiting.plan.request.input_images() == {}
    first.stop()
    second, executor = start_engine(queue_after_restart="resumed")
    assert second.job(waiting.id).wait(PATIENCE_S)
    plan = executor.last_plan
    assert plan is not None and plan.hires is not None
    images = {"control_units.1.image": PICTURE, "control_units.1.mask": mask}
    for one in (plan, plan.hires.plan):
        assert one.request.input_images() == images
        assert [planned.unit.image for planned in one.control] == [PICTURE]
    assert second.job(waiting.id).plan.request.input_images() == {}


def test_a_failed_job_is_retried_with_its_pictures(engine: Engine, executor: FakeExecutor):
    write_tiny_controlnet(engine.paths.data / "models" / "ControlNet" / "sketch.safetensors")
    unit = ControlUnit(enabled=True, image=PICTURE, model="sketch")
    executor.failures.append(UserError("Too large."))
    failed = engine.submit(Txt2ImgRequest(width=64, height=64, control_units=(unit,)))
    assert failed.wait(PATIENCE_S) and failed.status().state == "failed"
    assert engine.queue.retry(failed.id).wait(PATIENCE_S)
    assert executor.last_plan is not None
    assert executor.last_plan.request.control_units[0].image == PICTURE


def test_an_image_is_reproduced_with_the_control_images_of_its_job(
    engine: Engine, executor: FakeExecutor
):
    models = engine.paths.data / "models"
    write_tiny_controlnet(models / "ControlNet" / "sketch.safetensors")
    write_tiny_ip_adapter(models / "ControlNet", models / "clip_vision")
    mask = ImageField.from_pil(MASK, MASK_KIND)
    unit = ControlUnit(enabled=True, image=PICTURE, effective_region_mask=mask, model="sketch")
    white = ImageField.from_pil(WHITE)
    several = ControlUnit(enabled=True, image=white, more_images=(PICTURE, white), model="tiny_ip")
    request = Txt2ImgRequest(
        width=64, height=64, steps=4, seed=7, control_units=(ControlUnit(), unit, several)
    )
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    data = job.status().images[0].path.read_bytes()
    uploads = make_upload_store(engine)
    upload_id = uploads.add(data).id
    again = start_reproduction(engine, uploads, upload_id)
    assert engine.job(again).wait(PATIENCE_S)
    assert executor.last_plan is not None
    images = {
        "control_units.1.image": PICTURE,
        "control_units.1.effective_region_mask": mask,
        "control_units.2.image": white,
        "control_units.2.more_images.0": PICTURE,
        "control_units.2.more_images.1": white,
    }
    assert executor.last_plan.request.input_images() == images
    compared = compare_with_upload(engine, uploads, again, engine.status(again))
    assert compared.result.sentence.startswith("Identical")
    stored = engine.queue.store.record(job.id).stored_request.image_names
    (engine.paths.queue / "pictures" / stored["control_units.1.effective_region_mask"]).unlink()
    with pytest.raises(UserError, match="The effective region mask of ControlNet unit 1 is no lo"):
        start_reproduction(engine, uploads, upload_id)
    with Image.open(io.BytesIO(data)) as image:
        text = image.info["parameters"]
    buffer = io.BytesIO()
    other = make_png_info(text.replace("Seed: 7", "Seed: 8"))
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=other)
    with pytest.raises(UserError, match="and no job of this server made it"):
        start_reproduction(engine, uploads, uploads.add(buffer.getvalue()).id)
