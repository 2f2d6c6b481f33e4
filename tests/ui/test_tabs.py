"""The page's tabs without a browser: what they read, keep and say."""

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
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui import page
from modules.ui.browser_state import restore_values
from modules.ui.components.output import _collector
from modules.ui.forms.form import Form
from tests.conftest import write_listed_depth
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

FIELDS = ("prompt", "init_image", "depth_map", "denoising_strength")


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        form = Form(DepthRequest, engine, "depth")
        for name in FIELDS:
            form.add_field(name)
    return form


def values_of(form: Form, **values: Any) -> dict[Any, Any]:
    given = {
        "prompt": "a cat",
        "init_image": None,
        "depth_map": None,
        "denoising_strength": 0.5,
        **values,
    }
    return {form.components[name]: value for name, value in given.items()}


def test_a_picture_is_put_in_from_a_file_or_the_clipboard_and_comes_as_a_file(form: Form):
    component = form.components["init_image"]
    assert isinstance(component, gr.Image)
    assert (component.sources, component.type) == (["upload", "clipboard"], "filepath")
    assert form.image_fields == {"init_image", "depth_map"}


def test_an_uploaded_picture_becomes_the_requests(form: Form, tmp_path: Path):
    picture = Image.linear_gradient("L").convert("RGB")
    picture.save(tmp_path / "upload.png")
    read = form.read(
        values_of(form, init_image={"path": str(tmp_path / "upload.png"), "url": None})
    )
    request = validate(DepthRequest, read)
    assert request.init_image == ImageField.from_pil(picture)
    assert (request.depth_map, request.denoising_strength) == (None, 0.5)


def test_an_upload_that_is_gone_is_told(form: Form, tmp_path: Path):
    with pytest.raises(UserError, match=r"no longer on the server\. Put it in again\."):
        form.read(values_of(form, depth_map={"path": str(tmp_path / "gone.png")}))


def test_a_file_without_a_place_is_no_picture(form: Form):
    with pytest.raises(UserError, match="no longer on the server"):
        form.read(values_of(form, init_image={"path": None, "url": "data:image/png;base64,AAAA"}))


def test_the_browser_is_given_no_picture_to_keep(form: Form, tmp_path: Path):
    values = values_of(form, init_image={"path": str(tmp_path / "upload.png"), "url": None})
    assert form.read_non_image_fields(values) == {"prompt": "a cat", "denoising_strength": 0.5}
    assert restore_values(
        form, {"prompt": "a dog", "init_image": "x", "denoising_strength": 7}
    ) == [
        "a dog",
        0.75,
    ]


def test_the_depth_is_shown_behind_the_pictures_and_not_saved_among_them(
    idle_engine: Engine, executor: FakeExecutor
):
    write_listed_depth(idle_engine.paths.checkpoint_folders[0] / "depth.safetensors")
    idle_engine.start()
    picture = ImageField.from_pil(Image.new("RGB", (8, 8)))
    request = DepthRequest(
        init_image=picture, width=64, height=64, steps=2, n_iter=2, sd_model_checkpoint="depth"
    )
    job = idle_engine.submit(request)
    assert job.wait(PATIENCE_S)
    gallery, images, *_ = _collector(idle_engine)(job.id)
    shown = gallery.constructor_args["value"]
    assert [caption for _, caption in shown] == [None, None, "Grid", "Depth map"]
    assert [path.parts[-3] for path in (image.path for image in images)] == ["img2img-images"] * 2
    assert len(images) == len(list(idle_engine.paths.outputs.glob("img2img-images/*/*.png"))) == 2


def test_a_picture_from_words_alone_has_no_depth_to_show(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=2))
    assert job.wait(PATIENCE_S)
    gallery, *_ = _collector(engine)(job.id)
    assert len(gallery.constructor_args["value"]) == 1


def said_on_load(engine: Engine) -> dict[str, str]:
    """Return the line that each tab shows after the page was loaded."""
    blocks = page.build_page(engine)
    lines = {
        one.elem_id: number
        for number, one in blocks.blocks.items()
        if str(getattr(one, "elem_id", "")).endswith("_model_message")
    }
    said = {}
    for function in blocks.fns.values():
        targets = [output._id for output in function.outputs]
        for name, number in lines.items():
            if targets == [number]:
                said[name] = function.fn()
    return said


def test_each_tab_says_when_the_checkpoint_is_not_for_it(engine: Engine):
    plain = said_on_load(engine)
    assert plain["txt2img_model_message"] == ""
    assert "is not a depth checkpoint" in plain["depth_model_message"]
    folder = engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    engine.models.refresh()
    engine.select_checkpoint("pruned")
    pruned = said_on_load(engine)
    assert "Use it in the Depth tab" in pruned["txt2img_model_message"]
    assert "has no depth estimator. Provide a depth map." in pruned["depth_model_message"]
