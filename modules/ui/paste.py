"""An infotext into a form: from the prompt box, or from a picture's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.infotext import InfotextResult
from modules.ui.chips import CHIPS, chips_of
from modules.ui.events import QUIET
from modules.ui.form import Form
from modules.ui.send import fill
from modules.ui.words import notice


def connect_paste(engine: Engine, form: Form, button: gr.Button, message: gr.HTML) -> None:
    """Have the button read the infotext in the prompt box, or the last picture's when the box is empty."""
    button.click(
        _paster(engine, form, message),
        form.components["prompt"],
        [*form.all_components, message],
        **QUIET,
    )


def filled(engine: Engine, form: Form, reading: InfotextResult) -> dict[Component, Any]:
    """Return what an event whose outputs are the form's components answers to put an infotext into it."""
    answer = fill(form, reading.values)
    if not reading.infotext.pairs:
        return answer  # a prompt alone
    overrides = dict(reading.override_settings)
    for name, component in form.options.items():
        answer[component] = overrides.pop(name, getattr(engine.settings, name))
    answer[form.extras[CHIPS]] = chips_of(engine, reading.values, overrides)
    return answer


def said_of(reading: InfotextResult) -> str:
    """Return what of an infotext could not be followed, as the page shows it."""
    return "".join(notice("note", sentence) for sentence in reading.report.messages())


def _paster(
    engine: Engine, form: Form, message: gr.HTML
) -> Callable[[str], Mapping[Component, Any]]:
    def paste(text: str) -> Mapping[Component, Any]:
        asked = text.strip() or _last_infotext(engine)
        if not asked:
            return {
                message: notice("note", "Put an infotext into the prompt box, then press ↙ again.")
            }
        reading = read_infotext(engine, asked, form.model)
        return {**filled(engine, form, reading), message: said_of(reading)}

    return paste


def _last_infotext(engine: Engine) -> str:
    """Return the infotext of the newest picture, "" when none was made since the start."""
    for job in reversed(engine.jobs()):
        images = job.status().images
        if images:
            return images[-1].infotext
    return ""
