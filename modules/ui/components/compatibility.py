"""A message in each tab that says why the chosen checkpoint does not support the tab's task."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr
from gradio.events import Dependency

from modules.engine.engine import Engine
from modules.ui.forms.form import Form
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice


def build_compatibility_message(title: str) -> gr.HTML:
    """Build the message in the current Gradio context; it is hidden while it is empty."""
    return gr.HTML("", elem_id=f"{title.lower()}_model_message", padding=False)


def connect_compatibility_message(
    engine: Engine, form: Form, message: gr.HTML, events: Iterable[Dependency]
) -> None:
    """Update the message after events that may change the checkpoint.

    Args:
        engine: Source of the checkpoint.
        form: Its task must be supported.
        message: Shows the sentence.
        events: Events that may change the checkpoint.
    """

    def update_message() -> str:
        reason = engine.active_checkpoint.incompatibility(form.task)
        return notice("note", reason) if reason else ""

    for event in events:
        event.then(update_message, outputs=message, **PRIVATE_EVENT)
