"""A tab's settings survive a reload: the browser keeps what stood in the form at the last change."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency
from pydantic import ValidationError

from modules.ui.events import QUIET
from modules.ui.form import Form


def remember(form: Form, page: gr.Blocks) -> Dependency:
    """Store the form in the browser whenever a field changes; fill it from there on load, which is returned.

    Pictures are not stored: a browser keeps five megabytes, and the server forgets uploads when it starts.
    """
    components = list(form.settings.values())
    key = f"webui-form-{form.prefix}"
    stored = gr.BrowserState({}, storage_key=key, secret="webui", render=False)
    form.states.append(stored)
    loaded = page.load(
        lambda values: restored(form, values),
        inputs=stored,
        outputs=components,
        **QUIET,
    )
    gr.on(
        [component.change for component in components],  # pyright: ignore[reportAttributeAccessIssue]
        form.read_settings,
        inputs=set(components),
        outputs=stored,
        trigger_mode="always_last",
        queue=False,
        **QUIET,
    )
    return loaded


def restored(form: Form, values: Any) -> list[Any]:
    """Return each field's stored value where it is still valid, else its default."""
    if not values or not isinstance(values, dict):
        return [gr.skip() for _ in form.settings]  # a first visit: nothing typed meanwhile is lost
    defaults = form.model()
    return [_valid(form, name, values.get(name), getattr(defaults, name)) for name in form.settings]


def _valid(form: Form, name: str, value: Any, default: Any) -> Any:
    if value is None:
        return default
    try:
        return getattr(form.model.model_validate({name: value}), name)
    except ValidationError:
        return default
