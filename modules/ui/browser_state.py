"""A tab's settings survive a reload: the browser keeps what stood in the form at the last change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency
from pydantic import ValidationError

from modules.engine.engine import Engine
from modules.params.settings import Settings
from modules.ui.forms.form import Form, component_value
from modules.ui.gradio_events import PRIVATE_EVENT, change_event


def persist_form(form: Form, page: gr.Blocks) -> Dependency:
    """Store the form in the browser whenever a field changes; fill it from there on load, which is returned.

    Pictures are too large for that; kept_pictures sees to them.
    """
    components = list(form.persisted.values())
    key = f"webui-form-{form.prefix}"
    stored = gr.BrowserState({}, storage_key=key, secret="webui", render=False)
    form.browser_states.append(stored)
    loaded = page.load(
        lambda values: restore_values(form, values),
        inputs=stored,
        outputs=components,
        **PRIVATE_EVENT,
    )
    gr.on(
        [change_event(component) for component in components],
        form.read_persisted,
        inputs=set(components),
        outputs=stored,
        trigger_mode="always_last",
        queue=False,
        preprocess=False,  # kept as it stands; what is not valid is found when it is read again
        **PRIVATE_EVENT,
    )
    return loaded


def restore_values(form: Form, values: Any) -> list[Any]:
    """Return each kept component's stored value where it is still valid, else its default."""
    if not values or not isinstance(values, dict):
        return [gr.skip() for _ in form.persisted]  # a first visit: nothing typed meanwhile is lost
    return [_valid(form, name, values.get(name)) for name in form.persisted]


def _valid(form: Form, name: str, value: Any) -> Any:
    component = form.persisted[name]
    if name in form.extra_components:
        return value if _is_offered(component, value) else component.value
    model, default = form.request_type, component.value
    if name in form.override_components:
        model = Settings
    else:
        default = getattr(form.request_type(), name)
    if value is None:
        return component_value(default)
    try:
        return component_value(getattr(model.model_validate({name: value}), name))
    except ValidationError:
        return component_value(default)


def _is_offered(component: Component, value: Any) -> bool:
    if isinstance(component, gr.Radio):
        return value in [choice for _, choice in component.choices]
    if isinstance(component, gr.Slider):
        return isinstance(value, int | float) and component.minimum <= value <= component.maximum
    return isinstance(value, type(component.value))


def persist_images(engine: Engine, form: Form, page: gr.Blocks) -> None:
    """Store where a form's pictures lie whenever one is put in or taken out, and show them again on load."""
    if not form.image_fields:
        return
    names = sorted(form.image_fields)
    boxes = [form.components[name] for name in names]
    stored = gr.BrowserState(
        [], storage_key=f"webui-pictures-{form.prefix}", secret="webui", render=False
    )
    form.browser_states.append(stored)
    folders = (engine.paths.gradio_temp, engine.paths.outputs)

    def shown(paths: Any) -> Any:
        """Return each picture's path where it may be shown; else what the box holds stays."""
        given = (
            paths if isinstance(paths, list) and len(paths) == len(names) else [None] * len(names)
        )
        found = [restorable_path(path, folders) for path in given]
        answer = [path or gr.skip() for path in found]
        return answer if len(answer) > 1 else answer[0]

    page.load(shown, stored, boxes, **PRIVATE_EVENT)
    gr.on(
        [box.change for box in boxes],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        None,
        boxes,
        stored,
        js="(...files) => [files.map((file) => file?.path ?? null)]",
        **PRIVATE_EVENT,
    )


def restorable_path(path: object, folders: Iterable[Path]) -> str | None:
    """Return the path that a browser has kept of a picture, if a file lies there in one of the folders; else None."""
    if not isinstance(path, str):
        return None
    try:
        found = Path(path).resolve(strict=True)
    except (OSError, ValueError):  # gone, or nothing that a file could be called
        return None
    inside = any(found.is_relative_to(folder.resolve()) for folder in folders)
    return str(found) if inside and found.is_file() else None
