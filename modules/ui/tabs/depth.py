"""The Depth tab: img2img that preserves the depth of the init image."""

from __future__ import annotations

from functools import partial

import gradio as gr

from modules.engine.engine import Engine
from modules.params.requests.depth import DepthRequest
from modules.ui.components.depth_preview import build_depth_preview
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench

_IMAGE_HEIGHT = 240


def build(engine: Engine) -> Form:
    """Build the tab in the current Gradio context and return its form."""
    form = Form(DepthRequest, engine, "depth")
    return build_workbench(engine, form, partial(_add_fields, engine))


def _add_fields(engine: Engine, form: Form) -> None:
    with gr.Row(elem_classes="pictures"):
        form.add_field("init_image", height=_IMAGE_HEIGHT, min_width=150)
        form.add_field("depth_map", height=_IMAGE_HEIGHT, min_width=150)
    build_depth_preview(engine, form, _IMAGE_HEIGHT)
    form.add_field("denoising_strength")
