"""The size a model was made for: the page starts there, and says so in words below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.param import Param, params_of
from modules.plan.planner import below_native_size_note
from modules.ui.forms.form import Form, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

DEFAULT_SIZE = 512  # the form's own default


def follow_native_size(
    engine: Engine, form: Form, events: Iterable[Dependency]
) -> list[Dependency]:
    """Keep a form at the chosen model's own size until the user takes another.

    The events after which that is done are returned.

    Args:
        engine: Knows the model.
        form: One without width and height is left alone.
        events: After these another model may be chosen.
    """
    if not {"width", "height"} <= form.components.keys():
        return list(events)
    width, height = form.components["width"], form.components["height"]
    # In the browser, so that a reload takes a size that was chosen on purpose for what it is.
    key = f"webui-size-{form.prefix}"
    last = gr.BrowserState(DEFAULT_SIZE, storage_key=key, secret="webui", render=False)
    form.browser_states.append(last)
    hint = gr.HTML("", elem_id=f"{form.prefix}_size_message", padding=False)

    def fit(native: int, wide: int, high: int) -> tuple[Any, Any, Any, str]:
        size = engine.active_checkpoint.native_size() or DEFAULT_SIZE
        if wide == high == native != size:
            return size, size, size, ""
        return size, gr.skip(), gr.skip(), said(wide, high)

    def said(wide: int, high: int) -> str:
        size = engine.active_checkpoint.native_size()
        if min(wide, high) >= size:
            return ""
        return notice("note", below_native_size_note(engine.find_checkpoint().name, size))

    sizes = [last, width, height]
    # One event for all: a second one on the same slider makes Gradio call both again and again.
    resized = gr.on(
        [width.change, height.change],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        said,
        [width, height],
        hint,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )
    for handler, inputs, output in form.size_listeners:
        resized.then(handler, inputs, output, **PRIVATE_EVENT)
    return [event.then(fit, sizes, [*sizes, hint], **PRIVATE_EVENT) for event in events]


SCALE_BY = "scale_by"  # the extra that holds it
_LARGEST_FACTOR = 4.0


def build_size_from_image(form: Form) -> None:
    """Make a factor and the button that sets width and height, below which they stand in the page."""
    with gr.Row(elem_classes="picture-size"):
        factor = gr.Slider(
            0.05,
            _LARGEST_FACTOR,
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
    picture = form.components["init_image"]
    side = params_of(form.request_type)["width"]

    def take(values: Mapping[Component, Any]) -> tuple[Any, Any, str]:
        try:
            file = values[picture]
            if file is None:
                raise UserError("There is no picture to take the size from.", "Put one in first.")
            size = ImageField.from_bytes(read_upload_bytes(file)).size
        except WebUIError as error:
            return gr.skip(), gr.skip(), notice("error", str(error))
        width, height = scale_size(size, float(values[factor]), side)
        exact = round(size[0] * values[factor]), round(size[1] * values[factor])
        said = f"{exact[0]}x{exact[1]} is made {width}x{height}: sides are multiples of 8."
        return width, height, "" if (width, height) == exact else notice("note", said)

    button.click(
        take,
        {picture, factor},
        [form.components["width"], form.components["height"], message],
        preprocess=False,
        **PRIVATE_EVENT,
    )


def scale_size(size: tuple[int, int], factor: float, side_param: Param) -> tuple[int, int]:
    """Return a size times a factor with both sides as the declaration of one allows; proportions are kept if they can be."""
    assert side_param.ge is not None and side_param.le is not None and side_param.multiple_of
    factor = min(factor, side_param.le / max(size))
    factor = max(factor, min(side_param.ge / min(size), side_param.le / max(size)))
    return tuple(
        int(
            max(
                side_param.ge,
                min(
                    side_param.le,
                    length * factor // side_param.multiple_of * side_param.multiple_of,
                ),
            )
        )
        for length in size
    )  # pyright: ignore[reportReturnType] - two in, two out
