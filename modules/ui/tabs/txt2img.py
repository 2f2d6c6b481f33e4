"""The txt2img tab: a picture from words alone."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.hires import build_hires
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    return build_workbench(
        engine, Form(Txt2ImgRequest, engine, "txt2img"), add_fields_below=build_hires
    )
