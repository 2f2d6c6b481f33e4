from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.params.requests.img2img import Img2ImgRequest
from modules.ui.components.file_batch import start_file_batch
from modules.ui.forms.form import Form
from modules.ui.tabs import img2img
from tests.engine.fake_executor import PATIENCE_S


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        return img2img.build(engine)


@pytest.fixture
def input_folder(engine: Engine) -> Path:
    folder = engine.paths.data / "inputs" / "pets"
    folder.mkdir(parents=True)
    for name, size in {"ant.png": (64, 72), "cat.png": (128, 64)}.items():
        Image.new("RGB", size, "red").save(folder / name)
    (folder / "bee.png").write_text("this is no picture")
    return folder


def raw_values(**values: Any) -> dict[str, Any]:
    defaults = Img2ImgRequest(width=64, height=64, steps=2).model_dump()
    extras = {
        "init_image_strokes": "",
        "scale_by": 1,
        "batch_files": None,
        "batch_folder": "",
        "batch_output": "",
    }
    return {**defaults, **extras, "batch_own_size": False, **values}


def run_batch(engine: Engine, form: Form, **values: Any) -> Any:
    batch = engine.job(start_file_batch(engine, form, raw_values(**values)))
    assert batch.wait(PATIENCE_S)
    return batch.status()


def test_a_folder_is_processed_file_by_file_into_an_output_folder(
    engine: Engine, form: Form, input_folder: Path
):
    status = run_batch(engine, form, batch_folder="inputs/pets", batch_output="done")
    assert [image.path for image in status.images] == [
        engine.paths.outputs / "done" / name for name in ("ant.png", "cat.png")
    ]
    (note,) = status.notes
    assert note.startswith("bee.png: ") and "\n" not in note
    with Image.open(status.images[1].path) as image:
        assert image.size == (64, 64)


def test_each_image_may_have_its_own_size_times_the_factor(
    engine: Engine, form: Form, input_folder: Path
):
    files = [{"path": str(input_folder / name)} for name in ("cat.png", "ant.png")]
    status = run_batch(engine, form, batch_files=files, batch_own_size=True, scale_by=2)
    assert [Image.open(image.path).size for image in status.images] == [(256, 128), (128, 144)]


def test_a_missing_file_is_reported(engine: Engine, form: Form):
    status = run_batch(engine, form, batch_files=[{"path": "/no/where.png"}])
    assert status.state == "failed"
    assert status.notes == ("where.png: The file cannot be read: No such file or directory.",)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, UserError),
        ({"batch_folder": "/etc"}, UserError),
        ({"batch_folder": "inputs/nowhere"}, NotFound),
        ({"batch_folder": "inputs/pets", "batch_output": "../up"}, UserError),
    ],
)
def test_a_batch_that_cannot_start_is_an_error(
    engine: Engine, form: Form, input_folder: Path, values: dict, error: type
):
    with pytest.raises(error):
        start_file_batch(engine, form, raw_values(**values))
