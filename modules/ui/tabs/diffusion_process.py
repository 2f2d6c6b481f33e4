"""The Diffusion process tab: forms and viewers by assets/process_tab.js, and explanations with formulas below them."""

from __future__ import annotations

import gradio as gr

from modules.engine.engine import Engine
from modules.ui.scripted_html import build_scripted_html
from modules.ui.tabs import process_explanations as explanations

_LATEX_DELIMITERS = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]
# Title and explanations of each half, by its name in the script.
_HALVES = {
    "forward": (
        "Forward: picture to noise",
        (
            explanations.FORWARD,
            explanations.SPACES,
            explanations.MOMENTS,
            explanations.TRAINED,
            explanations.HISTOGRAM,
        ),
    ),
    "reverse": (
        "Reverse: noise to picture",
        (explanations.REVERSE, explanations.SCHEDULES, explanations.HISTOGRAM),
    ),
}


def build(engine: Engine) -> None:
    """Build the tab with its two halves in the current Gradio context."""
    del engine  # the browser asks the /internal routes
    with gr.Tabs(elem_id="process_halves"):
        for half, (title, texts) in _HALVES.items():
            with gr.Tab(title, id=half):
                html = f'<div class="ui process" data-half="{half}"></div>'
                build_scripted_html(html, "process_tab.js", f"process_{half}_panel")
                with gr.Row(elem_classes="explanations"):
                    for text in texts:
                        gr.Markdown(
                            text, latex_delimiters=_LATEX_DELIMITERS, elem_classes="explained"
                        )
