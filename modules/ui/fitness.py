"""A line in each tab that says why the chosen checkpoint cannot do what the tab does."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr
from gradio.events import Dependency

from modules.engine.engine import Engine
from modules.ui.events import QUIET
from modules.ui.form import Form
from modules.ui.words import notice


def build_fitness(title: str) -> gr.HTML:
    """Make the place of the line where the page stands; without a line it takes no room."""
    return gr.HTML("", elem_id=f"{title.lower()}_model_message", padding=False)


def follow_fitness(engine: Engine, form: Form, line: gr.HTML, events: Iterable[Dependency]) -> None:
    """Keep the line true.

    Args:
        engine: Knows the checkpoint.
        form: Its task is what has to be done.
        line: Where the sentence stands.
        events: After these another checkpoint may be chosen.
    """

    def said() -> str:
        fault = engine.active_checkpoint.incompatibility(form.task)
        return notice("note", fault) if fault else ""

    for event in events:
        event.then(said, outputs=line, **QUIET)
