"""Batches of a form: uploads by their ids, and folders on the server."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_status import JobStatus
from modules.engine.page.file_batch import start_file_batch
from modules.engine.page.uploads import make_upload_store
from modules.images.inpaint.mask_sources import FILE
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor
from tests.models.control.control_files import write_tiny_controlnet

FORM = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture
def input_folder(engine: Engine) -> Path:
    folder = engine.paths.data / "inputs" / "pets"
    folder.mkdir(parents=True)
    for name, size in {"ant.png": (64, 72), "cat.png": (128, 64)}.items():
        Image.new("RGB", size, "red").save(folder / name)
    (folder / "bee.png").write_text("this is no picture")
    return folder


def upload(engine: Engine, image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return make_upload_store(engine).add(buffer.getvalue()).id


def run_batch(engine: Engine, task: str = "img2img", **values: Any) -> JobStatus:
    batch = start_file_batch(engine, task, {**FORM, **values})
    assert batch.wait(PATIENCE_S)
    return batch.status()


def test_a_folder_is_processed_file_by_file_into_an_output_folder(
    engine: Engine, input_folder: Path
):
    status = run_batch(engine, batch_folder="inputs/pets", batch_output="done")
    assert [image.path for image in status.images] == [
        engine.paths.outputs / "done" / name for name in ("ant.png", "cat.png")
    ]
    (note,) = status.notes
    assert note.startswith("bee.png: ") and "\n" not in note
    with Image.open(status.images[1].path) as image:
        assert image.size == (64, 64)


def test_uploads_keep_their_names_and_may_keep_their_sizes(engine: Engine):
    files = [
        {"id": upload(engine, Image.new("RGB", size)), "name": name}
        for name, size in {"my cat.jpeg": (128, 64), "../ant.png": (64, 72)}.items()
    ]
    own = {"batch_own_size": True, "scale_by": 2, "batch_output": "zoo"}
    status = run_batch(engine, batch_files=files, **own)
    assert [image.path.name for image in status.images] == ["my cat.png", "_ant.png"]
    assert [Image.open(image.path).size for image in status.images] == [(256, 128), (128, 144)]


def test_an_uploaded_mask_is_used_for_every_file(engine: Engine):
    files = [{"id": upload(engine, Image.new("RGB", (64, 64), "red")), "name": "ant.png"}]
    mask = upload(engine, Image.new("L", (64, 64)))
    status = run_batch(engine, "inpaint", batch_files=files, mask=mask, mask_source=FILE)
    assert status.state == "failed"
    assert status.notes[0].startswith("ant.png: The mask is empty")


def test_strokes_are_painted_on_every_file_of_their_size(engine: Engine):
    dot = {"radius": 4, "points": [16, 12]}
    strokes = json.dumps({"size": [64, 64], "strokes": [dot]})
    files = [
        {"id": upload(engine, Image.new("RGB", size, "red")), "name": f"{size[0]}.png"}
        for size in ((64, 64), (96, 64))
    ]
    status = run_batch(engine, "inpaint", batch_files=files, init_image_strokes=strokes)
    assert len(status.images) == 1
    assert status.notes[-1].startswith("96.png: The brush strokes were painted on a picture of")


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, UserError),
        ({"batch_folder": "/etc"}, UserError),
        ({"batch_folder": "inputs/nowhere"}, NotFound),
        ({"batch_folder": "inputs/pets", "batch_output": "../up"}, UserError),
        ({"batch_folder": "inputs/pets", "batch_own_size": True, "scale_by": "x"}, UserError),
        ({"batch_folder": "inputs/pets", "steps": "many"}, UserError),
        ({"batch_files": [{"id": "0" * 64, "name": "a.png"}]}, NotFound),
        ({"batch_files": [{"id": "../../etc/passwd"}]}, NotFound),
        ({"batch_files": ["a"]}, UserError),
        ({"batch_files": "a"}, UserError),
    ],
)
def test_a_batch_that_cannot_start_is_an_error(
    engine: Engine, input_folder: Path, values: dict[str, Any], error: type[Exception]
):
    with pytest.raises(error):
        start_file_batch(engine, "img2img", {**FORM, **values})


def test_each_file_becomes_the_picture_of_a_unit(
    engine: Engine, executor: FakeExecutor, input_folder: Path
):
    (input_folder / "bee.png").unlink()
    write_tiny_controlnet(engine.paths.data / "models" / "ControlNet" / "sketch.safetensors")
    units = [{"enabled": False}, {"enabled": True, "module": "canny", "model": "sketch"}]
    values = {"control_units": units, "batch_folder": "inputs/pets", "batch_unit": 1}
    status = run_batch(engine, "txt2img", **values, batch_output="poses")
    assert [image.path.name for image in status.images] == ["ant.png", "cat.png"]
    assert executor.last_plan is not None
    picture = executor.last_plan.request.control_units[1].image
    assert picture is not None and picture.size == (128, 64)
    with pytest.raises(UserError, match="ControlNet unit 0 is off"):
        start_file_batch(engine, "txt2img", {**FORM, **values, "batch_unit": 0})
