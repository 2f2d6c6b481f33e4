"""The Depth tab: a picture repainted by words, its depth kept."""

from __future__ import annotations

import gradio as gr

from modules.engine.engine import Engine
from modules.params.request import DepthRequest
from modules.ui.form import Form
from modules.ui.inputs import SeedRow, build_prompts, build_settings
from modules.ui.output import build_output, connect

PICTURE_HEIGHT = 240


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    form = Form(DepthRequest, engine, "depth")
    buttons = build_prompts(engine, form)
    with gr.Row(elem_classes="workbench"):
        with gr.Column(elem_classes="settings", min_width=320):
            with gr.Row(elem_classes="pictures"):
                form.field("init_image", height=PICTURE_HEIGHT, min_width=150)
                form.field("depth_map", height=PICTURE_HEIGHT, min_width=150)
            form.field("denoising_strength")
            build_settings(form)
            seed = SeedRow(form)
        with gr.Column(elem_classes="output", min_width=320):
            panel = build_output(form.prefix)
    connect(engine, form, buttons, panel)
    seed.connect(panel)
    return form
