"""The Diffusion process tab with its two halves, forward and reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gradio as gr

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.forms.form import Form
from modules.ui.tabs.diffusion_process.forward import build_forward
from modules.ui.tabs.diffusion_process.reverse import (
    build_reverse,
    connect_resume,
    connect_show_process,
)


def build(engine: Engine) -> Callable[[Mapping[str, Form]], None]:
    """Build the tab in the current Gradio context; return the function that connects it to the forms by tab title."""
    with gr.Tabs(elem_id="process_halves"):
        with gr.Tab("Forward: picture to noise", id="forward"):
            forward_image = build_forward(engine)
        with gr.Tab("Reverse: noise to picture", id="reverse"):
            reverse = build_reverse(engine, Form(Txt2ImgRequest, engine, "process"))

    def connect(forms: Mapping[str, Form]) -> None:
        connect_resume(engine, reverse)
        for form in forms.values():
            if form.output_panel is not None:
                connect_show_process(engine, form.output_panel, reverse, forward_image)

    return connect
