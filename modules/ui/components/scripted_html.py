"""HTML components that a script of assets/ fills: the browser renders them from the /internal routes."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_ASSETS = Path(__file__).parents[1] / "assets"


def build_scripted_html(html: str, script: str, elem_id: str) -> gr.HTML:
    """Build an HTML component in the current Gradio context.

    Gradio evaluates the template as a JavaScript template literal, so it must hold no data, only fixed elements. The
    script adds data with textContent, and sets no prop: that would render the template again and drop its rows.

    Args:
        html: The fixed elements.
        script: Name of a file in assets/; it runs once when the component is mounted, with `element` as its root.
        elem_id: Id of the component.
    """
    text = (_ASSETS / script).read_text(encoding="utf-8")
    return gr.HTML(html_template=html, js_on_load=text, padding=False, elem_id=elem_id)
