from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.forms.paste import InfotextPaste
from tests.engine.fake_executor import PATIENCE_S

TEXT = "a cat\nNegative prompt: a dog\nSteps: 7, Sampler: DDIM, CFG scale: 3, Seed: 9, Size: 64x128, Clip skip: 2, Odd: 1"


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        form = Form(Txt2ImgRequest, engine, "txt2img")
        form.add_remaining_fields()
        form.extra_components[OVERRIDE_SETTINGS] = build_override_settings("txt2img")
    return form


def paste(engine: Engine, form: Form, text: str) -> tuple[dict[str, Any], Any, str]:
    """Return the new values of the fields, of the chips and of the message."""
    message_box = gr.HTML()
    updates = dict(InfotextPaste(engine, form, message_box).paste(text))
    message = updates.pop(message_box)
    chips = updates.pop(form.extra_components[OVERRIDE_SETTINGS], None)
    skipped = gr.skip()
    names = {component: name for name, component in form.components.items()}
    fields = {names[component]: value for component, value in updates.items() if value != skipped}
    return fields, chips, message


def test_an_infotext_in_the_prompt_box_fills_the_form(engine: Engine, form: Form):
    fields, chips, message = paste(engine, form, TEXT)
    assert (fields["prompt"], fields["negative_prompt"]) == ("a cat", "a dog")
    assert (fields["steps"], fields["sampler_name"], fields["seed"], fields["height"]) == (
        7,
        "DDIM",
        9,
        128,
    )
    assert (fields["enable_hr"], fields["subseed_strength"]) == (False, 0)
    assert "n_iter" not in fields
    assert chips == ["Clip skip: 2"]
    assert "Odd (1): this key is unknown." in message


def test_a_prompt_without_parameters_changes_nothing_else(engine: Engine, form: Form):
    assert paste(engine, form, "a cat, a dog") == ({"prompt": "a cat, a dog"}, None, "")


def test_an_empty_box_uses_the_infotext_of_the_last_image(engine: Engine, form: Form):
    _, _, message = paste(engine, form, "")
    assert "Put an infotext into the prompt box" in message
    job = engine.submit(Txt2ImgRequest(prompt="a fox", width=64, height=64, steps=2, seed=4))
    assert job.wait(PATIENCE_S)
    fields, _, _ = paste(engine, form, " ")
    assert (fields["prompt"], fields["seed"]) == ("a fox", 4)
