"""A line in each tab that says why the chosen checkpoint cannot do what the tab does."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr
from gradio.events import Dependency

from modules.engine.engine import Engine
from modules.ui.forms.form import Form
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice


def build_compatibility_message(title: str) -> gr.HTML:
    """Make the place of the line where the page stands; without a line it takes no room."""
    return gr.HTML("", elem_id=f"{title.lower()}_model_message", padding=False)


def connect_compatibility_message(
    engine: Engine, form: Form, message: gr.HTML, events: Iterable[Dependency]
) -> None:
    """Keep the line true.

    Args:
        engine: Knows the checkpoint.
        form: Its task is what has to be done.
        message: Where the sentence stands.
        events: After these another checkpoint may be chosen.
    """

    def said() -> str:
        fault = engine.active_checkpoint.incompatibility(form.task)
        return notice("note", fault) if fault else ""

    for event in events:
        event.then(said, outputs=message, **PRIVATE_EVENT)
