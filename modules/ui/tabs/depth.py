"""The Depth tab: a picture repainted by words, its depth kept."""

from __future__ import annotations

from functools import partial

import gradio as gr

from modules.engine.engine import Engine
from modules.params.requests.depth import DepthRequest
from modules.ui.components.depth_preview import build_depth_preview
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench

PICTURE_HEIGHT = 240


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    form = Form(DepthRequest, engine, "depth")
    return build_workbench(engine, form, partial(_own_fields, engine))


def _own_fields(engine: Engine, form: Form) -> None:
    with gr.Row(elem_classes="pictures"):
        form.add_field("init_image", height=PICTURE_HEIGHT, min_width=150)
        form.add_field("depth_map", height=PICTURE_HEIGHT, min_width=150)
    build_depth_preview(engine, form, PICTURE_HEIGHT)
    form.add_field("denoising_strength")
