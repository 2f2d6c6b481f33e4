"""The img2img tab: a picture, perhaps sketched on, repainted by words."""

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
    """Make the tab where the page stands and return its form."""
    form = Form(Img2ImgRequest, engine, "img2img", excluded_sections=MASK_SECTIONS)
    form.to_request_values = _finish
    return build_workbench(engine, form, _own_fields, with_file_batch=True)


def _own_fields(form: Form) -> None:
    build_paint_canvas(
        form, "init_image", "sketch", label="Picture (paste, drop or choose one; then sketch on it)"
    )
    form.add_field("resize_mode")
    form.add_field("denoising_strength")
    form.add_override("img2img_fix_steps")


def _finish(values: dict[str, Any]) -> dict[str, Any]:
    """Return the request's values: the picture with the sketch on it."""
    strokes = values["init_image_strokes"]
    if values["init_image"] is None:
        raise UserError("There is no picture to repaint.", "Put one in, or use txt2img.")
    values["init_image"] = picture = ImageField.from_bytes(values["init_image"])
    sketch = parse_strokes(strokes, picture.size)
    if sketch.strokes:
        values["init_image"] = ImageField.from_pil(sketch.paint_over(picture.to_pil()))
    return values
