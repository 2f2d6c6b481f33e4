"""HTML components that a script of assets/ fills: the browser renders them from the /internal routes."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from modules.engine.engine import Engine


def build_scripted_html(html: str, script: str, elem_id: str) -> gr.HTML:
    """Build an HTML component in the current Gradio context.

    Gradio evaluates the template as a JavaScript template literal, so it must hold no data, only fixed elements. The
    script adds data with textContent, and sets no prop: that would render the template again and drop its rows.

    Args:
        html: The fixed elements.
        script: Name of a module in assets/; its `mount(element)` is called once, when the component is mounted.
        elem_id: Id of the component.
    """
    mount = f'webui.mount("{script}", element)'
    return gr.HTML(html_template=html, js_on_load=mount, padding=False, elem_id=elem_id)


def scripted_tab(html: str, script: str, elem_id: str) -> Callable[[Engine], None]:
    """Return the `build` of a tab that has one such component alone; see `build_scripted_html`."""

    def build(engine: Engine) -> None:
        del engine  # the browser calls the /internal routes
        build_scripted_html(html, script, elem_id)

    return build
