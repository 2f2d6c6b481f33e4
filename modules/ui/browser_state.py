"""Form values survive a reload: the browser stores them at every change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency
from pydantic import ValidationError

from modules.engine.engine import Engine
from modules.ui.forms.form import Form, component_value
from modules.ui.gradio_events import PRIVATE_EVENT, change_event


def persist_form(form: Form, page: gr.Blocks) -> Dependency:
    """Store the form's values in the browser whenever a field changes; return the event that restores them on load.

    Images are too large for that: `persist_images` stores their paths.
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
        preprocess=False,  # stored unvalidated; `restore_values` validates
        **PRIVATE_EVENT,
    )
    return loaded


def restore_values(form: Form, values: Any) -> list[Any]:
    """Return the stored value of each persisted component if it is still valid, else its default."""
    if not values or not isinstance(values, dict):
        return [gr.skip() for _ in form.persisted]  # first visit: keeps what was typed meanwhile
    return [_valid_or_default(form, name, values.get(name)) for name in form.persisted]


def _valid_or_default(form: Form, name: str, value: Any) -> Any:
    component = form.persisted[name]
    if name in form.extra_components:
        return value if _accepts(component, value) else component.value
    model, default = form.request_type, component.value
    if name in form.override_components:
        model = form.request_type.settings_class
    else:
        default = getattr(form.request_type(), name)
    if value is None:
        return component_value(default)
    try:
        return component_value(getattr(model.model_validate({name: value}), name))
    except ValidationError:
        return component_value(default)


def _accepts(component: Component, value: Any) -> bool:
    if isinstance(component, gr.Radio):
        return value in [choice for _, choice in component.choices]
    if isinstance(component, gr.Slider):
        return isinstance(value, int | float) and component.minimum <= value <= component.maximum
    return isinstance(value, type(component.value))


def persist_images(engine: Engine, form: Form, page: gr.Blocks) -> None:
    """Store the paths of a form's uploaded images in the browser at every change, and show the images again on load."""
    if not form.image_fields:
        return
    boxes = [form.components[name] for name in sorted(form.image_fields)]
    stored = gr.BrowserState(
        [], storage_key=f"webui-pictures-{form.prefix}", secret="webui", render=False
    )
    form.browser_states.append(stored)
    folders = (engine.paths.gradio_temp, engine.paths.outputs)

    def restore_images(stored_paths: Any) -> Any:
        """Return each image's path if it may be shown; other boxes keep their value."""
        is_valid = isinstance(stored_paths, list) and len(stored_paths) == len(boxes)
        paths = stored_paths if is_valid else [None] * len(boxes)
        updates = [restorable_path(path, folders) or gr.skip() for path in paths]
        return updates if len(updates) > 1 else updates[0]

    page.load(restore_images, stored, boxes, **PRIVATE_EVENT)
    gr.on(
        [box.change for box in boxes],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        None,
        boxes,
        stored,
        js="(...files) => [files.map((file) => file?.path ?? null)]",
        **PRIVATE_EVENT,
    )


def restorable_path(path: object, folders: Iterable[Path]) -> str | None:
    """Return the resolved path of an image stored in a browser, if it is a file in one of the folders; else None."""
    if not isinstance(path, str):
        return None
    try:
        resolved = Path(path).resolve(strict=True)
    except (OSError, ValueError):  # does not exist, or is not a valid path
        return None
    is_inside = any(resolved.is_relative_to(folder.resolve()) for folder in folders)
    return str(resolved) if is_inside and resolved.is_file() else None
