"""The txt2img tab: a picture from words alone."""

from __future__ import annotations

import gradio as gr

from modules.engine.engine import Engine
from modules.params.request import Txt2ImgRequest
from modules.ui.form import Form
from modules.ui.inputs import SeedRow, build_prompts, build_settings
from modules.ui.output import build_output, connect


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    form = Form(Txt2ImgRequest, engine, "txt2img")
    buttons = build_prompts(engine, form)
    with gr.Row(elem_classes="workbench"):
        with gr.Column(elem_classes="settings", min_width=320):
            build_settings(form)
            seed = SeedRow(form)
        with gr.Column(elem_classes="output", min_width=320):
            panel = build_output(form.prefix)
    connect(engine, form, buttons, panel)
    seed.connect(panel)
    return form
