"""Options of the page's own events: no loading overlay over their outputs, and not part of Gradio's public API."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

# Without components to show progress on, the browser does not render every output again for each status of an event:
# loading the page took 8 instead of 13 s of its processor time.
PRIVATE_EVENT: dict[str, Any] = {
    "show_progress": "hidden",
    "show_progress_on": [],
    "api_visibility": "private",
}


def change_event(component: Component) -> Any:  # Gradio adds events at run time
    """Return the event that fires when a component's value changes.

    For a multi-select that is `input`: Gradio takes the list in each response for a new value, so that two
    events listening to `change` call each other for ever.
    """
    if isinstance(component, gr.Dropdown) and component.multiselect:
        return component.input  # pyright: ignore[reportAttributeAccessIssue]
    return component.change  # pyright: ignore[reportAttributeAccessIssue]
