"""The native size of the model: the form's default, with a note below it. Also, the size of the init image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.images.resize import scale_size
from modules.params.image import ImageField
from modules.params.param import params_of
from modules.plan.planner import below_native_size_note
from modules.ui.forms.form import Form, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

DEFAULT_SIZE = 512  # the request's default
SCALE_BY = "scale_by"  # the factor's name in Form.extra_components
_MAX_FACTOR = 4.0


def follow_native_size(
    engine: Engine, form: Form, events: Iterable[Dependency]
) -> list[Dependency]:
    """Keep width and height at the model's native size until the user changes them; return the updating events.

    Args:
        engine: Source of the model.
        form: Unchanged if it has no width and height.
        events: Events that may change the model.
    """
    if not {"width", "height"} <= form.components.keys():
        return list(events)
    width, height = form.components["width"], form.components["height"]
    # Stored in the browser, so that after a reload a size that the user chose is still recognised as such.
    key = f"webui-size-{form.prefix}"
    last_native = gr.BrowserState(DEFAULT_SIZE, storage_key=key, secret="webui", render=False)
    form.browser_states.append(last_native)
    hint = gr.HTML("", elem_id=f"{form.prefix}_size_message", padding=False)

    def fit(last_native: int, width: int, height: int) -> tuple[Any, Any, Any, str]:
        native = engine.active_checkpoint.native_size() or DEFAULT_SIZE
        if width == height == last_native != native:
            return native, native, native, ""
        return native, gr.skip(), gr.skip(), size_note(width, height)

    def size_note(width: int, height: int) -> str:
        native = engine.active_checkpoint.native_size()
        if min(width, height) >= native:
            return ""
        return notice("note", below_native_size_note(engine.find_checkpoint().name, native))

    sizes = [last_native, width, height]
    # One event for all: a second one on the same slider makes Gradio call both again and again.
    resized = gr.on(
        [width.change, height.change],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        size_note,
        [width, height],
        hint,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )
    for handler, inputs, output in form.size_listeners:
        resized.then(handler, inputs, output, **PRIVATE_EVENT)
    return [event.then(fit, sizes, [*sizes, hint], **PRIVATE_EVENT) for event in events]


def build_size_from_image(form: Form) -> None:
    """Build a factor and the button that sets width and height from the init image, in the current Gradio context."""
    with gr.Row(elem_classes="picture-size"):
        factor = gr.Slider(
            0.05,
            _MAX_FACTOR,
            value=1,
            step=0.05,
            label="Resize by",
            elem_id=f"{form.prefix}_{SCALE_BY}",
            min_width=160,
        )
        button = gr.Button(
            "Size from the picture",
            elem_id=f"{form.prefix}_take_size",
            min_width=170,
            scale=0,
            size="sm",
        )
    message = gr.HTML("", elem_id=f"{form.prefix}_picture_size_message", padding=False)
    form.extra_components[SCALE_BY] = factor
    init_image = form.components["init_image"]
    side_param = params_of(form.request_type)["width"]

    def take_size(values: Mapping[Component, Any]) -> tuple[Any, Any, str]:
        try:
            upload = values[init_image]
            if upload is None:
                raise UserError("There is no picture to take the size from.", "Upload one first.")
            size = ImageField.from_bytes(read_upload_bytes(upload)).size
        except WebUIError as error:
            return gr.skip(), gr.skip(), notice("error", str(error))
        width, height = scale_size(size, float(values[factor]), side_param)
        exact = round(size[0] * values[factor]), round(size[1] * values[factor])
        rounded = f"{exact[0]}x{exact[1]} is rounded to {width}x{height}: sides are multiples of 8."
        return width, height, "" if (width, height) == exact else notice("note", rounded)

    button.click(
        take_size,
        {init_image, factor},
        [form.components["width"], form.components["height"], message],
        preprocess=False,
        **PRIVATE_EVENT,
    )
