"""Requests from the values of a form on the page: uploads become images, chips options, strokes a mask or a sketch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.page.control_units import read_unit_uploads
from modules.engine.page.override_chips import parse_overrides
from modules.engine.page.uploads import UploadStore, make_upload_store
from modules.images.inpaint.mask_sources import BRUSH, FILE
from modules.images.inpaint.painting import Painting, apply_painting
from modules.params.image import ImageField, is_image_field
from modules.params.param import validate
from modules.params.requests.extras import ExtrasRequest
from modules.params.requests.img2img import Img2ImgRequest, mask_kind
from modules.params.requests.job_request import JobRequest
from modules.plan.jobs.extras import read_source

# Values of a form that are no fields of a request.
CHIPS, STROKES, MASK_SOURCE = "chips", "init_image_strokes", "mask_source"
SKETCH, TRANSPARENCY = "inpaint_sketch", "inpaint_sketch_transparency"
# Tasks with an init image that is painted on, and where their mask comes from by default.
_PAINTED_TASKS = {"img2img": "", "inpaint": BRUSH}

UNITS = "control_units"

Values = dict[str, Any]


def make_page_request(engine: Engine, task_name: str, values: Mapping[str, Any]) -> JobRequest:
    """Return the request of a form on the page.

    Args:
        engine: Has the tasks, the uploads and the settings.
        task_name: The form's row of TASKS or JOB_KINDS.
        values: By field name, images as ids of uploads; `override_settings` of the form's own settings; `chips`, further
            ones as text; `init_image_strokes`, what was painted on the init image; `mask_source`, one of MASK_SOURCES;
            `inpaint_sketch`, whether a mask's coloured strokes change the image, and `inpaint_sketch_transparency`, in
            percent. What is no field is left out.

    Raises:
        WebUIError: a value is not valid, or an image is missing.
    """
    request_type = page_request_type(engine, task_name)
    raw = read_form(engine, request_type, values)
    if task_name in _PAINTED_TASKS:
        painting = read_painting(task_name, raw)
        if raw.get("init_image") is None:
            raise UserError("There is no picture to repaint.", "Upload one, or use txt2img.")
        init_image, mask = apply_painting(painting, raw["init_image"], read_mask(raw))
        raw["init_image"] = init_image
        if mask is not None:
            raw["mask"] = mask
    if issubclass(request_type, ExtrasRequest) and raw.get("image"):
        raw |= read_source(raw["image"])
    return validate_fields(request_type, raw)


def page_request_type(engine: Engine, task_name: str) -> type[JobRequest]:
    """Return the class of the requests of a task or of another kind of job, with the options of this engine.

    Raises:
        UserError: there is neither.
    """
    return engine.registries.request_class(task_name).with_settings(type(engine.settings))


def read_form(engine: Engine, request_type: type[JobRequest], values: Mapping[str, Any]) -> Values:
    """Return a form's values with the bytes of each image in place of its id, and all options in `override_settings`.

    Raises:
        NotFound: an image is no longer there.
        UserError: a chip names no option, or its value is not valid.
    """
    raw = read_uploads(make_upload_store(engine), request_type, values)
    fields, settings = parse_overrides(raw.pop(CHIPS, None) or (), request_type.settings_class)
    raw |= fields
    raw["override_settings"] = {**(raw.get("override_settings") or {}), **settings}
    return raw


def read_uploads(
    uploads: UploadStore, request_type: type[JobRequest], values: Mapping[str, Any]
) -> Values:
    """Return a form's values with the bytes of each image in place of its id, and None for no image.

    Raises:
        NotFound: an image is no longer there.
    """
    names = {name for name, field in request_type.model_fields.items() if is_image_field(field)}
    read = {
        name: (uploads.read(str(value)) if value else None) if name in names else value
        for name, value in values.items()
    }
    if UNITS in read:
        read[UNITS] = read_unit_uploads(uploads, read[UNITS])
    return read


def read_painting(task_name: str, values: Mapping[str, Any]) -> Painting:
    """Return what a form's values say of the strokes on its init image.

    Args:
        task_name: "img2img", whose strokes are a sketch, or "inpaint".
        values: Those of the form.

    Raises:
        UserError: a number is not valid.
    """
    strokes = str(values.get(STROKES) or "")
    if not _PAINTED_TASKS[task_name]:
        return Painting(strokes)
    source = str(values.get(MASK_SOURCE) or BRUSH)
    if not values.get(SKETCH):
        return Painting(strokes, source)
    blur = validate_fields(Img2ImgRequest, {"mask_blur": values.get("mask_blur", 4)}).mask_blur
    return Painting(strokes, source, True, read_transparency(values), blur)


def read_transparency(values: Mapping[str, Any]) -> float:
    """Return the transparency of an inpaint sketch in percent, 0 by default.

    Raises:
        UserError: it is no number from 0 to 100.
    """
    value = values.get(TRANSPARENCY) or 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise UserError(f"Mask transparency is {value!r}.", "Use a number from 0 to 100.")
    return float(value)


def read_mask(values: Mapping[str, Any]) -> ImageField | None:
    """Return the uploaded mask of a form that takes its mask from a file, else None.

    Args:
        values: Those of the form, with the bytes of images.

    Raises:
        UserError: the file cannot be read.
    """
    file = values.get("mask")
    if values.get(MASK_SOURCE) != FILE or not file:
        return None
    return ImageField.from_bytes(file, mask_kind(values))


def validate_fields(
    request_type: type[JobRequest], values: Mapping[str, Any]
) -> Any:  # Any: the request type's instance
    """Return the request with those of the values that are its fields.

    Raises:
        UserError: a value is not valid.
    """
    known = request_type.model_fields
    return validate(request_type, {name: value for name, value in values.items() if name in known})
