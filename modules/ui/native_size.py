"""The size a model was made for: the page starts there, and says so in words below it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr
from gradio.events import Dependency

from modules.engine.engine import Engine
from modules.plan.planner import below_native_size_note
from modules.ui.events import QUIET
from modules.ui.form import Form
from modules.ui.words import notice

USUAL_SIZE = 512  # the form's own default


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
    last = gr.BrowserState(USUAL_SIZE, storage_key=key, secret="webui", render=False)
    form.states.append(last)
    hint = gr.HTML("", elem_id=f"{form.prefix}_size_message", padding=False)

    def fit(native: int, wide: int, high: int) -> tuple[Any, Any, Any, str]:
        size = engine.active_checkpoint.native_size() or USUAL_SIZE
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
        **QUIET,
    )
    for handler, inputs, output in form.on_size:
        resized.then(handler, inputs, output, **QUIET)
    return [event.then(fit, sizes, [*sizes, hint], **QUIET) for event in events]
