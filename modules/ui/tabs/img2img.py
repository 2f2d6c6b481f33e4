"""The img2img tab: an init image, with a sketch painted on it or not."""

from __future__ import annotations

from typing import Any

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.ui.components.paint_canvas import build_paint_canvas
from modules.ui.forms.form import Form
from modules.ui.workbench import build_workbench

MASK_SECTIONS = ("mask", "outpainting", "soft inpainting")


def build(engine: Engine) -> Form:
    """Build the tab in the current Gradio context and return its form."""
    form = Form(Img2ImgRequest, engine, "img2img", excluded_sections=MASK_SECTIONS)
    form.to_request_values = to_request_values
    return build_workbench(engine, form, _add_fields, with_file_batch=True)


def _add_fields(form: Form) -> None:
    build_paint_canvas(
        form, "init_image", "sketch", label="Picture (paste, drop or choose one; then sketch on it)"
    )
    form.add_field("resize_mode")
    form.add_field("denoising_strength")
    form.add_override("img2img_fix_steps")


def to_request_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the request's values, with the sketch painted on the init image.

    Raises:
        UserError: there is no init image, it cannot be decoded, or the strokes are invalid.
    """
    strokes = values["init_image_strokes"]
    if values["init_image"] is None:
        raise UserError("There is no picture to repaint.", "Upload one, or use txt2img.")
    values["init_image"] = init_image = ImageField.from_bytes(values["init_image"])
    sketch = parse_strokes(strokes, init_image.size)
    if sketch.strokes:
        values["init_image"] = ImageField.from_pil(sketch.paint_over(init_image.to_pil()))
    return values
