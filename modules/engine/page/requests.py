"""Requests from the values of a form on the page: uploads become images, chips options, strokes a mask or a sketch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.page.override_chips import parse_overrides
from modules.engine.page.uploads import UploadStore, make_upload_store
from modules.images.inpaint.mask_sources import BRUSH, FILE, make_mask
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField, is_image_field
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import mask_kind

# Values of a form that are no fields of a request.
CHIPS, STROKES, MASK_SOURCE = "chips", "init_image_strokes", "mask_source"

_Values = dict[str, Any]


def make_page_request(
    engine: Engine, task_name: str, values: Mapping[str, Any]
) -> GenerationRequest:
    """Return the request that a form on the page stands for.

    Args:
        engine: Has the tasks, the uploads and the settings.
        task_name: The form's row of TASKS.
        values: By field name, images as ids of uploads; `override_settings` of the form's own settings; `chips`, further
            ones as text; `init_image_strokes`, what was painted on the init image; `mask_source`, one of MASK_SOURCES.
            What is no field is left out.

    Raises:
        WebUIError: a value is not valid, or an image is missing.
    """
    task = engine.registries.tasks.get(task_name)
    request_type = task.request.with_settings(type(engine.settings))
    raw = read_uploads(make_upload_store(engine), request_type, values)
    fields, settings = parse_overrides(raw.pop(CHIPS, None) or (), request_type.settings_class)
    raw |= fields
    raw["override_settings"] = {**(raw.get("override_settings") or {}), **settings}
    painted = _PAINTED.get(task_name, _as_they_are)(raw)
    known = request_type.model_fields
    return validate(
        request_type, {name: value for name, value in painted.items() if name in known}
    )


def read_uploads(
    uploads: UploadStore, request_type: type[GenerationRequest], values: Mapping[str, Any]
) -> _Values:
    """Return a form's values with the bytes of each image in place of its id, and None for no image.

    Raises:
        NotFound: an image is no longer there.
    """
    names = {name for name, field in request_type.model_fields.items() if is_image_field(field)}
    return {
        name: (uploads.read(str(value)) if value else None) if name in names else value
        for name, value in values.items()
    }


def _as_they_are(values: _Values) -> _Values:
    return values


def _paint_sketch(values: _Values) -> _Values:
    """Return the values with the strokes painted on the init image.

    Raises:
        UserError: there is no init image, it cannot be read, or the strokes are not valid.
    """
    init_image = _init_image(values)
    sketch = parse_strokes(values.get(STROKES) or "", init_image.size)
    if sketch.strokes:
        init_image = ImageField.from_pil(sketch.paint_over(init_image.to_pil()))
    return {**values, "init_image": init_image}


def _make_mask(values: _Values) -> _Values:
    """Return the values with the mask from the chosen source.

    Raises:
        UserError: there is no init image or no mask; an empty mask is reported by the engine.
    """
    init_image = _init_image(values)
    source, file = values.get(MASK_SOURCE, BRUSH), values.get("mask")
    uploaded = (
        ImageField.from_bytes(file, mask_kind(values)) if source == FILE and file else None
    )
    strokes = values.get(STROKES) or ""
    mask = make_mask(source, init_image.size, values["init_image"], strokes, uploaded)
    return {**values, "init_image": init_image, "mask": mask}


def _init_image(values: _Values) -> ImageField:
    data = values.get("init_image")
    if data is None:
        raise UserError("There is no picture to repaint.", "Upload one, or use txt2img.")
    return ImageField.from_bytes(data)


# What a task does with strokes; all others take no notice of them.
_PAINTED: Mapping[str, Callable[[_Values], _Values]] = {
    "img2img": _paint_sketch,
    "inpaint": _make_mask,
}
