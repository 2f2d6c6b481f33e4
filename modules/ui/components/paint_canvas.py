"""A picture to paint on: Gradio's picture box, and over it the board of assets/canvas.js."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr

from modules.ui.forms.form import Form

EMPTY_HEIGHT = 240


def build_paint_canvas(
    form: Form, name: str, kind: Literal["mask", "sketch"], **layout: Any
) -> None:
    """Make the field of a picture where the page stands, with a brush.

    The strokes are read as the form's extra `<name>_strokes`, a text for `images.strokes.parse_strokes`.

    Args:
        form: Its request holds the picture.
        name: The picture's field.
        kind: A mask is one see-through colour; a sketch has a colour of its own for each stroke.
        layout: For the picture's box.
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
