"""The PNG Info tab: what an image's file says about it, sent to other tabs or made again. assets/png_info.js fills it."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.scripted_html import build_scripted_html


def build(engine: Engine) -> None:
    """Build the tab in the current Gradio context."""
    del engine  # the browser asks the /internal routes
    build_scripted_html('<div class="ui png-info"></div>', "png_info.js", "png_info_tab")
