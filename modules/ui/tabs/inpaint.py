"""The Inpaint tab: the masked area is repainted, the rest of the init image is unchanged."""

from __future__ import annotations

from typing import Any

import gradio as gr

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.images.inpaint.mask_sources import BRUSH, FILE, MASK_SOURCES, make_mask
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest, mask_kind
from modules.ui.components.paint_canvas import MASK_SOURCE, build_paint_canvas
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench

MASK_FIELDS = (
    "mask_blur",
    "inpainting_mask_invert",
    "inpainting_fill",
    "inpaint_full_res",
    "inpaint_full_res_padding",
    "denoising_strength",
)
ACCORDION_SECTIONS = {
    "outpainting": "Outpainting",
    "soft inpainting": "Soft inpainting",
}  # sections and titles


def build(engine: Engine) -> Form:
    """Build the tab in the current Gradio context and return its form."""
    form = Form(Img2ImgRequest, engine, "inpaint")
    form.task = "inpaint"
    form.to_request_values = to_request_values
    return build_workbench(engine, form, _add_fields, with_file_batch=True)


def _add_fields(form: Form) -> None:
    build_paint_canvas(
        form, "init_image", "mask", label="Picture (paste, drop or choose one; then paint on it)"
    )
    form.extra_components[MASK_SOURCE] = source = gr.Radio(
        list(MASK_SOURCES),
        value=BRUSH,
        label="Mask",
        elem_id=f"{form.prefix}_{MASK_SOURCE}",
    )
    with gr.Column(visible=False) as file:
        form.add_field("mask", label="Mask: white is repainted", height=200)
    source.change(
        None, source, file, js=f"(source) => ({{visible: source === '{FILE}', __type__: 'update'}})"
    )
    for name in MASK_FIELDS:
        form.add_field(name)
    form.add_field("resize_mode")
    form.add_override("img2img_fix_steps")
    form.add_override("inpainting_mask_weight")
    for section, title in ACCORDION_SECTIONS.items():
        with gr.Accordion(title, open=False):
            form.add_section(section)


def to_request_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the request's values, with the mask from the chosen source.

    Raises:
        UserError: there is no init image or no mask; an empty mask is reported by the engine.
    """
    source, file = values[MASK_SOURCE], values["mask"]
    if values["init_image"] is None:
        raise UserError("There is no picture to repaint.", "Upload one, or use txt2img.")
    data = values["init_image"]
    values["init_image"] = init_image = ImageField.from_bytes(data)
    values["mask"] = make_mask(
        source,
        init_image.size,
        data,
        values["init_image_strokes"],
        ImageField.from_bytes(file, mask_kind(values))
        if source == FILE and file is not None
        else None,
    )
    return values
