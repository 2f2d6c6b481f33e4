from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.forms.paste import _paster
from tests.engine.fake_executor import PATIENCE_S

TEXT = "a cat\nNegative prompt: a dog\nSteps: 7, Sampler: DDIM, CFG scale: 3, Seed: 9, Size: 64x128, Clip skip: 2, Odd: 1"


@pytest.fixture
def form(engine: Engine) -> Form:
    with gr.Blocks():
        form = Form(Txt2ImgRequest, engine, "txt2img")
        form.add_remaining_fields()
        form.extra_components[OVERRIDE_SETTINGS] = build_override_settings("txt2img")
    return form


def pasted(engine: Engine, form: Form, text: str) -> tuple[dict[str, Any], Any, str]:
    """Return what the fields, the chips and the message become."""
    message = gr.HTML()
    answer = dict(_paster(engine, form, message)(text))
    said = answer.pop(message)
    chips = answer.pop(form.extra_components[OVERRIDE_SETTINGS], None)
    skipped = gr.skip()
    names = {component: name for name, component in form.components.items()}
    return {names[one]: value for one, value in answer.items() if value != skipped}, chips, said


def test_an_infotext_in_the_prompt_box_fills_the_form(engine: Engine, form: Form):
    fields, chips, said = pasted(engine, form, TEXT)
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
    assert "Odd (1): nothing here knows this key." in said


def test_a_prompt_alone_changes_nothing_else(engine: Engine, form: Form):
    assert pasted(engine, form, "a cat, a dog") == ({"prompt": "a cat, a dog"}, None, "")


def test_an_empty_box_takes_the_last_picture(engine: Engine, form: Form):
    _, _, said = pasted(engine, form, "")
    assert "Put an infotext into the prompt box" in said
    job = engine.submit(Txt2ImgRequest(prompt="a fox", width=64, height=64, steps=2, seed=4))
    assert job.wait(PATIENCE_S)
    fields, _, _ = pasted(engine, form, " ")
    assert (fields["prompt"], fields["seed"]) == ("a fox", 4)
