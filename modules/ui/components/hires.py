"""The fields of the hires pass: an accordion that shows the size of its image."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.core.errors import WebUIError
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest, hires_size
from modules.ui.forms.form import Form
from modules.ui.gradio_events import PRIVATE_EVENT

TITLE = "Hires. fix"
_SIZES = ("width", "height", "hr_scale", "hr_resize_x", "hr_resize_y")


def build_hires(form: Form) -> None:
    """Build the accordion in the current Gradio context; width and height must exist already."""
    with gr.Accordion(TITLE, open=False, elem_id=f"{form.prefix}_hires"):
        with gr.Row():
            form.add_field("enable_hr", min_width=140)
            size_line = gr.HTML(elem_id=f"{form.prefix}_hires_size", min_width=140, padding=False)
        with gr.Row():
            form.add_field("hr_upscaler", min_width=140)
            form.add_field("hr_second_pass_steps", min_width=140)
        with gr.Row():
            form.add_field("denoising_strength", min_width=140)
            form.add_field("hr_scale", min_width=140)
        with gr.Row():
            form.add_field("hr_resize_x", min_width=140)
            form.add_field("hr_resize_y", min_width=140)
        with gr.Row():
            form.add_field("hr_sampler_name", min_width=140)
            form.add_field("hr_scheduler", min_width=140)
        form.add_field("hr_checkpoint_name")
        form.add_field("hr_prompt")
        form.add_field("hr_negative_prompt")
    size_line.value = _size_html(describe_hires_size({}))
    sizes = [form.components[name] for name in _SIZES]
    form.size_listeners.append((_update_size, sizes, size_line))
    gr.on(
        [component.change for component in sizes[2:]],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        _update_size,
        sizes,
        size_line,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )


def _update_size(*sizes: Any) -> str:
    return _size_html(describe_hires_size(dict(zip(_SIZES, sizes, strict=True))))


def _size_html(text: str) -> str:
    return f'<p class="hires_size">{text}</p>'


def describe_hires_size(sizes: dict[str, Any]) -> str:
    """Return "from 512x512 to 1024x1024"; "" while a size is invalid. A missing size has the field's default."""
    try:
        request = validate(Txt2ImgRequest, sizes)
        size = hires_size(request)
    except WebUIError:
        return ""
    return f"from {request.width}x{request.height} to {size.width}x{size.height}"
