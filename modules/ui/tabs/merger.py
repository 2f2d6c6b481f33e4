"""The Checkpoint merger tab: one checkpoint made of others. assets/merger.js fills it."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.scripted_html import build_scripted_html


def build(engine: Engine) -> None:
    """Build the tab in the current Gradio context."""
    del engine  # the browser asks the /internal routes
    build_scripted_html('<div class="ui merger"></div>', "merger.js", "merger_tab")
