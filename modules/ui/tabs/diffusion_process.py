"""The Diffusion process tab: how a picture becomes noise, and noise a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gradio as gr

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui import process_frames
from modules.ui.form import Form
from modules.ui.process_forward import build_forward
from modules.ui.process_reverse import build_reverse, connect_how


def build(engine: Engine) -> Callable[[Mapping[str, Form]], None]:
    """Make the tab where the page stands and return what connects it to the tabs that make pictures."""
    process_frames.forget_older(
        engine.paths.gradio_temp, 0
    )  # their sessions ended with the last server
    with gr.Tabs(elem_id="process_halves"):
        with gr.Tab("Forward: picture to noise", id="forward"):
            picture = build_forward(engine)
        with gr.Tab("Reverse: noise to picture", id="reverse"):
            reverse = build_reverse(engine, Form(Txt2ImgRequest, engine, "process"))

    def connect(forms: Mapping[str, Form]) -> None:
        for form in forms.values():
            if form.output is not None:
                connect_how(engine, form.output, reverse, picture)

    return connect
