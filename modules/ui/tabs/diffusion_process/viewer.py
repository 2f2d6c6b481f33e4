"""The viewer of a recorded process: assets/process.js, which gets frames and numbers once and shows any step by itself."""

from __future__ import annotations

from typing import Literal

import gradio as gr

from modules.ui.components.scripted_html import build_scripted_html

Half = Literal["forward", "reverse"]


def build_viewer(half: Half) -> gr.Textbox:
    """Build the viewer in the current Gradio context; return the hidden component for the id of what it shows."""
    process_id = gr.Textbox(visible="hidden", elem_id=f"process_{half}_id")
    html = f'<div class="process-viewer" data-half="{half}"></div>'
    build_scripted_html(html, "process.js", f"process_{half}_viewer")
    return process_id


def show_script(half: Half) -> str:
    """Return the JavaScript of an event that shows the process with the id that is its input."""
    return f"(id) => {{ {_tell(half, 'id')} }}"


def busy_script(half: Half) -> str:
    """Return the JavaScript of an event that dims the figures until the next ones arrive."""
    return f"() => {{ {_tell(half, 'null')} }}"


def _tell(half: Half, process_id: str) -> str:
    """Return JavaScript that tells the viewer; a viewer that is mounted later reads the id from the session."""
    return (
        f"if ({process_id}) sessionStorage.setItem('webui-process-{half}', {process_id}); "
        f"document.dispatchEvent(new CustomEvent('webui-process', {{detail: {{half: '{half}', id: {process_id}}}}}));"
    )
