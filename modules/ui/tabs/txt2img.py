"""The txt2img tab: a picture from words alone."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.form import Form
from modules.ui.hires import build_hires
from modules.ui.workbench import build_workbench


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    return build_workbench(
        engine, Form(Txt2ImgRequest, engine, "txt2img"), later_fields=build_hires
    )
