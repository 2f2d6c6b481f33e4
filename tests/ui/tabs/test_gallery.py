from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from modules.engine.engine import Engine
from modules.engine.gallery.image_search import ImageSearch
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.tabs.gallery import GallerySender
from tests.ui.gallery_images import write_images


@pytest.mark.parametrize("is_foreign", [False, True])
def test_parameters_and_image_are_sent_to_a_tab(engine: Engine, tmp_path: Path, is_foreign: bool):
    installation = tmp_path / "a1111"
    (path,) = write_images(
        installation / "outputs" if is_foreign else engine.paths.outputs, 1, side=64
    )
    engine.change_settings({"gallery_a1111_folder": str(installation) if is_foreign else ""})
    engine.gallery.refresh()
    (row,) = engine.gallery.page(ImageSearch("garden")).rows
    message = gr.HTML()
    with gr.Blocks():
        forms = (
            Form(Txt2ImgRequest, engine, "txt2img"),
            Form(Img2ImgRequest, engine, "img2img"),
        )
        for form in forms:
            form.add_remaining_fields()
            form.extra_components[OVERRIDE_SETTINGS] = build_override_settings(form.prefix)
    txt2img, img2img = forms
    sent = GallerySender(engine, txt2img, message).send(row["id"])
    assert sent[txt2img.components["prompt"]] == "a cat in a garden, number 0"
    assert sent[message] == ""
    sent = GallerySender(engine, img2img, message).send(row["id"])
    image = Path(sent[img2img.components["init_image"]])
    assert image.read_bytes() == path.read_bytes()
    # Gradio reads no file outside the program's folders.
    assert (image != path) == is_foreign
    assert sent[img2img.components["steps"]] == 10
    assert "no such picture" in GallerySender(engine, img2img, message).send("gone")[message]
