from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.param import validate
from modules.params.requests.depth import DepthRequest
from modules.ui.browser_state import restore_values
from modules.ui.forms.form import Form

FIELDS = ("prompt", "init_image", "depth_map", "denoising_strength")


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        form = Form(DepthRequest, engine, "depth")
        for name in FIELDS:
            form.add_field(name)
    return form


def values_of(form: Form, **values: Any) -> dict[Any, Any]:
    all_values = {
        "prompt": "a cat",
        "init_image": None,
        "depth_map": None,
        "denoising_strength": 0.5,
        **values,
    }
    return {form.components[name]: value for name, value in all_values.items()}


def test_an_image_field_takes_uploads_and_the_clipboard_as_files(form: Form):
    component = form.components["init_image"]
    assert isinstance(component, gr.Image)
    assert (component.sources, component.type) == (["upload", "clipboard"], "filepath")
    assert form.image_fields == {"init_image", "depth_map"}


def test_an_uploaded_image_becomes_the_init_image(form: Form, tmp_path: Path):
    image = Image.linear_gradient("L").convert("RGB")
    image.save(tmp_path / "upload.png")
    values = form.read(
        values_of(form, init_image={"path": str(tmp_path / "upload.png"), "url": None})
    )
    request = validate(DepthRequest, values)
    assert request.init_image == ImageField.from_pil(image)
    assert (request.depth_map, request.denoising_strength) == (None, 0.5)


def test_a_missing_upload_is_an_error(form: Form, tmp_path: Path):
    with pytest.raises(UserError, match=r"no longer on the server\. Upload it again\."):
        form.read(values_of(form, depth_map={"path": str(tmp_path / "gone.png")}))


def test_a_file_without_a_path_is_an_error(form: Form):
    with pytest.raises(UserError, match="no longer on the server"):
        form.read(values_of(form, init_image={"path": None, "url": "data:image/png;base64,AAAA"}))


def test_no_image_is_stored_in_the_browser(form: Form, tmp_path: Path):
    values = values_of(form, init_image={"path": str(tmp_path / "upload.png"), "url": None})
    assert form.read_non_image_fields(values) == {"prompt": "a cat", "denoising_strength": 0.5}
    assert restore_values(
        form, {"prompt": "a dog", "init_image": "x", "denoising_strength": 7}
    ) == [
        "a dog",
        0.75,
    ]
