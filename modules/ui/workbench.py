"""What all tabs that make pictures look like: prompts above, settings on one side, pictures on the other."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from modules.engine.engine import Engine
from modules.ui.batch import build_batch, connect_batch
from modules.ui.chips import CHIPS, build_chips
from modules.ui.form import Form
from modules.ui.inputs import SeedRow, build_settings
from modules.ui.output import build_output, connect
from modules.ui.paste import connect_paste
from modules.ui.prompts import build_prompts, connect_counters


def build_workbench(
    engine: Engine,
    form: Form,
    own_fields: Callable[[Form], None] = lambda _: None,
    *,
    later_fields: Callable[[Form], None] = lambda _: None,
    in_batches: bool = False,
) -> Form:
    """Make a tab where the page stands and return its form.

    Args:
        engine: Carries out what is asked.
        form: Empty yet; its request type is what the tab asks for.
        own_fields: Makes the fields that this tab alone has, above the other settings.
        later_fields: Likewise, below them.
        in_batches: Whether it repaints many files, too.
    """
    buttons = build_prompts(engine, form)
    with gr.Row(elem_classes="workbench"):
        with gr.Column(elem_classes="settings", min_width=320):
            own_fields(form)
            build_settings(form)
            seed = SeedRow(form)
            later_fields(form)
            form.extras[CHIPS] = build_chips(form.prefix)
            with gr.Accordion("More", open=False):
                form.remaining()
            batch = build_batch(form) if in_batches else None
        with gr.Column(elem_classes="output", min_width=320):
            panel = build_output(form.prefix)
    form.output = panel
    connect(engine, form, buttons, panel)
    if batch is not None:
        connect_batch(engine, form, batch)
    seed.connect(panel)
    connect_counters(engine, form)
    connect_paste(engine, form, buttons.paste, panel.message)
    return form
