"""An infotext into a form: from the prompt box, or from a picture's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from pydantic import ValidationError

from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.infotext import InfotextResult
from modules.ui.forms.form import Form, component_value
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, format_overrides
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice


def connect_paste(engine: Engine, form: Form, button: gr.Button, message: gr.HTML) -> None:
    """Have the button read the infotext in the prompt box, or the last picture's when the box is empty."""
    button.click(
        _paster(engine, form, message),
        form.components["prompt"],
        [*form.all_components, message],
        **PRIVATE_EVENT,
    )


def fill_from_infotext(engine: Engine, form: Form, reading: InfotextResult) -> dict[Component, Any]:
    """Return what an event whose outputs are the form's components answers to put an infotext into it."""
    answer = fill_form(form, reading.values)
    if not reading.infotext.pairs:
        return answer  # a prompt alone
    overrides = dict(reading.override_settings)
    for name, component in form.override_components.items():
        answer[component] = overrides.pop(name, getattr(engine.settings, name))
    answer[form.extra_components[OVERRIDE_SETTINGS]] = format_overrides(
        engine, reading.values, overrides
    )
    return answer


def format_report(reading: InfotextResult) -> str:
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
        reading = read_infotext(engine, asked, form.request_type)
        return {**fill_from_infotext(engine, form, reading), message: format_report(reading)}

    return paste


def _last_infotext(engine: Engine) -> str:
    """Return the infotext of the newest picture, "" when none was made since the start."""
    for job in reversed(engine.jobs()):
        images = job.status().images
        if images:
            return images[-1].infotext
    return ""


def fill_form(form: Form, values: Mapping[str, Any]) -> dict[Component, Any]:
    """Return what an event whose outputs are the form's components answers to put values into it.

    Args:
        form: The other fields stay as they are.
        values: By field name, pictures as the path of a file that the page may show. What the form has no field for,
            or what is not valid there, is left out.
    """
    return {
        component: str(values[name])
        if name in form.image_fields and values.get(name)
        else component_value(values[name])
        if name in values and _is_valid(form, name, values[name])
        else gr.skip()
        for name, component in form.components.items()
    }


def _is_valid(form: Form, name: str, value: Any) -> bool:
    try:
        form.request_type.model_validate({name: value})
    except ValidationError:
        return False
    return True
