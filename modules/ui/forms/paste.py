"""Fills a form from an infotext: one pasted into the prompt box, or an image file's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """Have the button read the infotext in the prompt box, or the last image's if the box is empty."""
    button.click(
        InfotextPaste(engine, form, message).paste,
        form.components["prompt"],
        [*form.all_components, message],
        **PRIVATE_EVENT,
    )


@dataclass(frozen=True)
class InfotextPaste:
    """The paste button's event handler.

    Args:
        engine: Source of the last image and of the current settings.
        form: The form to fill.
        message: Shows what could not be applied.
    """

    engine: Engine
    form: Form
    message: gr.HTML

    def paste(self, text: str) -> Mapping[Component, Any]:
        """Return the new values of the form's components and of the message, by component."""
        infotext = text.strip() or _last_infotext(self.engine)
        if not infotext:
            hint = "Put an infotext into the prompt box, then press ↙ again."
            return {self.message: notice("note", hint)}
        result = read_infotext(self.engine, infotext, self.form.request_type)
        values = fill_from_infotext(self.engine, self.form, result)
        return {**values, self.message: format_report(result)}


def fill_from_infotext(engine: Engine, form: Form, result: InfotextResult) -> dict[Component, Any]:
    """Return the new values of the form's components, by component, that apply an infotext."""
    values = fill_form(form, result.values)
    if not result.infotext.pairs:
        return values  # only a prompt
    overrides = dict(result.override_settings)
    for name, component in form.override_components.items():
        values[component] = overrides.pop(name, getattr(engine.settings, name))
    values[form.extra_components[OVERRIDE_SETTINGS]] = format_overrides(
        engine, result.values, overrides
    )
    return values


def format_report(result: InfotextResult) -> str:
    """Return the parts of an infotext that could not be applied, as notices."""
    return "".join(notice("note", sentence) for sentence in result.report.messages())


def _last_infotext(engine: Engine) -> str:
    """Return the infotext of the newest image; "" if none was generated since the start."""
    for job in reversed(engine.jobs()):
        images = job.status().images
        if images:
            return images[-1].infotext
    return ""


def fill_form(form: Form, values: Mapping[str, Any]) -> dict[Component, Any]:
    """Return the new values of the form's components, by component; components without a new value are skipped.

    Args:
        form: The form to fill.
        values: By field name, an image as the path of a file that the page may show. Values that the form has no
            field for, or that are invalid, are ignored.
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
