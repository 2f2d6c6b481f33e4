from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.send import ImageSender
from modules.ui.forms.form import Form
from modules.ui.forms.paste import fill_form
from tests.engine.fake_executor import PATIENCE_S


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        form = Form(Img2ImgRequest, engine, "img2img")
        for name in ("prompt", "steps", "width", "height", "init_image"):
            form.add_field(name)
    return form


def new_values(form: Form, updates: dict) -> dict[str, object]:
    """Return the updates that change a value, by field name."""
    skipped = gr.skip()
    return {
        name: updates[component]
        for name, component in form.components.items()
        if updates[component] != skipped
    }


def test_a_form_is_filled_with_the_valid_values_of_its_own_fields(form: Form, tmp_path: Path):
    values = {
        "prompt": "a cat",
        "steps": 0,
        "width": 96,
        "init_image": tmp_path / "x.png",
        "no such": 1,
    }
    updates = fill_form(form, values)
    assert set(updates) == set(form.components.values())
    assert new_values(form, updates) == {
        "prompt": "a cat",
        "width": 96,
        "init_image": str(tmp_path / "x.png"),
    }


def test_an_image_is_sent_as_its_saved_file_with_prompts_and_size(engine: Engine, form: Form):
    job = engine.submit(
        Txt2ImgRequest(prompt="a red circle", width=64, height=96, steps=2, n_iter=2)
    )
    assert job.wait(PATIENCE_S)
    images = job.status().images
    sent = new_values(form, ImageSender(engine, form).send(job.id, images, 1))
    assert sent == {
        "prompt": "a red circle",
        "width": 64,
        "height": 96,
        "init_image": str(images[1].path),
    }


def test_seed_and_size_are_sent_only_if_the_settings_say_so(engine: Engine):
    with gr.Blocks():
        form = Form(Img2ImgRequest, engine, "img2img")
        for name in ("seed", "width", "height", "init_image"):
            form.add_field(name)
    job = engine.submit(Txt2ImgRequest(width=64, height=96, steps=2, seed=5))
    assert job.wait(PATIENCE_S)
    images = job.status().images
    sent = new_values(form, ImageSender(engine, form).send(job.id, images, 0))
    assert (sent["seed"], sent["width"], sent["height"]) == (5, 64, 96)
    engine.change_settings({"send_seed": False, "send_size": False})
    assert list(new_values(form, ImageSender(engine, form).send(job.id, images, 0))) == [
        "init_image"
    ]


def test_an_image_of_a_forgotten_job_is_sent_without_prompts(engine: Engine, form: Form):
    job = engine.submit(Txt2ImgRequest(prompt="a red circle", width=64, height=64, steps=2))
    assert job.wait(PATIENCE_S)
    with Image.open(job.status().images[0].path) as image:
        assert image.size == (64, 64)
    sent = new_values(form, ImageSender(engine, form).send("long ago", job.status().images, 0))
    assert sorted(sent) == ["height", "init_image", "width"]


def test_without_an_image_nothing_is_changed(engine: Engine, form: Form):
    assert new_values(form, ImageSender(engine, form).send("", (), 0)) == {}
