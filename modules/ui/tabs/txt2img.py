"""The txt2img tab."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.hires import build_hires
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench


def build(engine: Engine) -> Form:
    """Build the tab in the current Gradio context and return its form."""
    return build_workbench(
        engine, Form(Txt2ImgRequest, engine, "txt2img"), add_fields_below=build_hires
    )
