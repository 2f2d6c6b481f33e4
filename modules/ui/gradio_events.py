"""How the page's own events run: without Gradio's veil over what they change, and out of its public API."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

PRIVATE_EVENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def change_event(component: Component) -> Any:  # Gradio adds events at run time
    """Return the event of a component's new value.

    For a list of choices that is what a user does: Gradio takes the list in each answer for a new one, so that two
    events listening to `change` call each other for ever.
    """
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return component.input  # pyright: ignore[reportAttributeAccessIssue]
    return component.change  # pyright: ignore[reportAttributeAccessIssue]
