"""A tab's settings survive a reload: the browser keeps what stood in the form at the last change."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency
from pydantic import ValidationError

from modules.params.settings import Settings
from modules.ui.events import QUIET, new_value
from modules.ui.form import Form, shown


def remember(form: Form, page: gr.Blocks) -> Dependency:
    """Store the form in the browser whenever a field changes; fill it from there on load, which is returned.

    Pictures are too large for that; kept_pictures sees to them.
    """
    components = list(form.kept.values())
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
        [new_value(component) for component in components],
        form.read_kept,
        inputs=set(components),
        outputs=stored,
        trigger_mode="always_last",
        queue=False,
        preprocess=False,  # kept as it stands; what is not valid is found when it is read again
        **QUIET,
    )
    return loaded


def restored(form: Form, values: Any) -> list[Any]:
    """Return each kept component's stored value where it is still valid, else its default."""
    if not values or not isinstance(values, dict):
        return [gr.skip() for _ in form.kept]  # a first visit: nothing typed meanwhile is lost
    return [_valid(form, name, values.get(name)) for name in form.kept]


def _valid(form: Form, name: str, value: Any) -> Any:
    component = form.kept[name]
    if name in form.extras:
        return value if _is_offered(component, value) else component.value
    model, default = form.model, component.value
    if name in form.options:
        model = Settings
    else:
        default = getattr(form.model(), name)
    if value is None:
        return shown(default)
    try:
        return shown(getattr(model.model_validate({name: value}), name))
    except ValidationError:
        return shown(default)


def _is_offered(component: Component, value: Any) -> bool:
    if isinstance(component, gr.Radio):
        return value in [choice for _, choice in component.choices]
    if isinstance(component, gr.Slider):
        return isinstance(value, int | float) and component.minimum <= value <= component.maximum
    return isinstance(value, type(component.value))
