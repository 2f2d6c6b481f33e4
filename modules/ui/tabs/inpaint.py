"""The Inpaint tab: the masked area is repainted, the rest of the init image is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import ImageOps

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.images.inpaint.mask import mask_from_alpha
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField
from modules.params.image_decoding import open_image
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest
from modules.ui.components.paint_canvas import build_paint_canvas
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench

MASK_SOURCE = "mask_source"
BRUSH, FILE, TRANSPARENCY = "Brush", "A file", "What is transparent"
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
        [BRUSH, FILE, TRANSPARENCY],
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
    strokes, source = values["init_image_strokes"], values[MASK_SOURCE]
    if values["init_image"] is None:
        raise UserError("There is no picture to repaint.", "Upload one, or use txt2img.")
    data = values["init_image"]
    values["init_image"] = init_image = ImageField.from_bytes(data)
    sources: dict[str, Callable[[], ImageField]] = {
        BRUSH: lambda: ImageField.from_pil(parse_strokes(strokes, init_image.size).to_mask(), MASK),
        FILE: lambda: _mask_from_file(values["mask"]),
        TRANSPARENCY: lambda: _mask_from_transparency(data),
    }
    if source not in sources:
        raise UserError(f"The mask's source is {source!r}.", f"Use one of {', '.join(sources)}.")
    values["mask"] = sources[source]()
    return values


def _mask_from_file(data: bytes | None) -> ImageField:
    if data is None:
        raise UserError("There is no file with a mask.", "Upload one, or paint with the brush.")
    return ImageField.from_bytes(data, MASK)


def _mask_from_transparency(data: bytes) -> ImageField:
    mask = mask_from_alpha(ImageOps.exif_transpose(open_image(data)))
    if mask is None:
        raise UserError("Nothing in the picture is transparent.", "Paint the mask with the brush.")
    return ImageField.from_pil(mask, MASK)
