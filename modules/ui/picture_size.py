"""Width and height taken from a form's picture, times a factor; what was changed to make them valid is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.core.errors import UserError, WebUIError
from modules.params.image import ImageField
from modules.params.param import Param, params_of
from modules.ui.events import QUIET
from modules.ui.form import Form, upload_bytes
from modules.ui.words import notice

FACTOR = "scale_by"  # the extra that holds it
_LARGEST_FACTOR = 4.0


def build_picture_size(form: Form) -> None:
    """Make a factor and the button that sets width and height, below which they stand in the page."""
    with gr.Row(elem_classes="picture-size"):
        factor = gr.Slider(
            0.05,
            _LARGEST_FACTOR,
            value=1,
            step=0.05,
            label="Resize by",
            elem_id=f"{form.prefix}_{FACTOR}",
            min_width=160,
        )
        button = gr.Button(
            "Size from the picture",
            elem_id=f"{form.prefix}_take_size",
            min_width=170,
            scale=0,
            size="sm",
        )
    message = gr.HTML("", elem_id=f"{form.prefix}_picture_size_message", padding=False)
    form.extras[FACTOR] = factor
    picture = form.components["init_image"]
    side = params_of(form.model)["width"]

    def take(values: Mapping[Component, Any]) -> tuple[Any, Any, str]:
        try:
            file = values[picture]
            if file is None:
                raise UserError("There is no picture to take the size from.", "Put one in first.")
            size = ImageField.from_bytes(upload_bytes(file)).size
        except WebUIError as error:
            return gr.skip(), gr.skip(), notice("error", str(error))
        width, height = scaled(size, float(values[factor]), side)
        exact = round(size[0] * values[factor]), round(size[1] * values[factor])
        said = f"{exact[0]}x{exact[1]} is made {width}x{height}: sides are multiples of 8."
        return width, height, "" if (width, height) == exact else notice("note", said)

    button.click(
        take,
        {picture, factor},
        [form.components["width"], form.components["height"], message],
        preprocess=False,
        **QUIET,
    )


def scaled(size: tuple[int, int], factor: float, side: Param) -> tuple[int, int]:
    """Return a size times a factor with both sides as the declaration of one allows; proportions are kept if they can be."""
    assert side.ge is not None and side.le is not None and side.multiple_of
    factor = min(factor, side.le / max(size))
    factor = max(factor, min(side.ge / min(size), side.le / max(size)))
    return tuple(
        int(max(side.ge, min(side.le, length * factor // side.multiple_of * side.multiple_of)))
        for length in size
    )  # pyright: ignore[reportReturnType] - two in, two out
