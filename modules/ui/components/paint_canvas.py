"""An image to paint on: Gradio's image box, covered by the canvas of assets/canvas.js."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr

from modules.ui.forms.form import Form

EMPTY_HEIGHT = 240
MASK_SOURCE = "mask_source"  # name in Form.extra_components of what chooses the source of the mask


def build_paint_canvas(
    form: Form, name: str, kind: Literal["mask", "sketch"], **layout: Any
) -> None:
    """Build an image field with a brush in the current Gradio context.

    The strokes are the form's transient component `<name>_strokes`, a text for `images.strokes.parse_strokes`.

    Args:
        form: The form that gets the field.
        name: The image field's name.
        kind: A mask is drawn in one translucent colour; a sketch has a colour per stroke.
        layout: Arguments of the image box.
    """
    with gr.Column(elem_classes="pictures"):
        form.add_field(name, height=EMPTY_HEIGHT, **layout)
        element = f"{form.prefix}_{name}"
        gr.HTML(
            f'<div class="canvas" data-for="{element}" data-kind="{kind}" hidden></div>',
            elem_id=f"{element}_board",
            padding=False,
        )
        form.transient[f"{name}_strokes"] = gr.Textbox(
            visible="hidden", elem_id=f"{element}_strokes"
        )
