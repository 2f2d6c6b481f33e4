"""Layout of every generation tab: prompts on top, settings on one side, output on the other."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from modules.engine.engine import Engine
from modules.ui.components.file_batch import build_file_batch, connect_file_batch
from modules.ui.components.output import build_output, connect_output
from modules.ui.components.prompts import build_prompts, connect_token_counters
from modules.ui.components.sampling import SeedRow, build_sampling_settings
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, build_override_settings
from modules.ui.forms.paste import connect_paste


def build_workbench(
    engine: Engine,
    form: Form,
    add_tab_fields: Callable[[Form], None] = lambda _: None,
    *,
    add_fields_below: Callable[[Form], None] = lambda _: None,
    with_file_batch: bool = False,
) -> Form:
    """Build a tab in the current Gradio context and return its form.

    Args:
        engine: Runs the jobs.
        form: The tab's form, still empty.
        add_tab_fields: Adds this tab's own fields above the other settings.
        add_fields_below: Adds this tab's own fields below the seed.
        with_file_batch: Whether the tab has a file batch.
    """
    buttons = build_prompts(engine, form)
    with gr.Row(elem_classes="workbench"):
        with gr.Column(elem_classes="settings", min_width=320):
            add_tab_fields(form)
            build_sampling_settings(form)
            seed = SeedRow(form)
            add_fields_below(form)
            form.extra_components[OVERRIDE_SETTINGS] = build_override_settings(form.prefix)
            with gr.Accordion("More", open=False):
                form.add_remaining_fields()
            batch = build_file_batch(form) if with_file_batch else None
        with gr.Column(elem_classes="output", min_width=320):
            panel = build_output(form.prefix)
    form.output_panel = panel
    connect_output(engine, form, buttons, panel)
    if batch is not None:
        connect_file_batch(engine, form, batch)
    seed.connect(panel)
    connect_token_counters(engine, form)
    connect_paste(engine, form, buttons.paste, panel.message)
    return form
