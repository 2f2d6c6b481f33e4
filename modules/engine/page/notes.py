"""What a form says below its fields before Generate: sizes, what happens to the picture, whether the checkpoint can do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.page.file_batch import SCALE_BY
from modules.engine.page.requests import page_request_type, validate_fields
from modules.engine.page.uploads import make_upload_store
from modules.images.inpaint.outpaint_size import (
    Size,
    keeps_proportions,
    outpainted_size,
    size_within_outpainted,
)
from modules.images.resize import scale_size
from modules.models.checkpoint import Checkpoint
from modules.models.compatibility import incompatibility
from modules.models.face_restorers import FACE_RESTORERS, FaceRestorer, find_restorer
from modules.params.image import is_image_field
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
from modules.params.requests.extras import SCALE_BY as SCALE_BY_FACTOR
from modules.params.requests.extras import ExtrasRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.job_request import JobRequest
from modules.params.requests.txt2img import Txt2ImgRequest, hires_size
from modules.plan.jobs.extras import result_size
from modules.plan.planner import below_native_size_note

R = TypeVar("R", bound=JobRequest)

TASK = ""  # the note on the whole form
# How a resize mode puts a picture of other proportions into a size.
_FITTING = ("stretched to", "cropped to", "fitted into", "stretched to")
_MIN_INNER = 64  # see plan/input_checks
_REFINER = "refiner_checkpoint"


@dataclass(frozen=True)
class Note:
    """A sentence below a field, with a button that does what it suggests.

    Args:
        text: The sentence.
        button: The button's label; "" for none.
        values: What the button sets in the form.
        checkpoint: Name of the checkpoint that the button chooses before.
    """

    text: str
    button: str = ""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    checkpoint: str = ""


@dataclass(frozen=True)
class _Form:
    """A form's values as far as they can be read.

    Args:
        request: Has no images; an invalid value has its default.
        image_size: The init image's, if there is one.
        scale_by: How much larger the result is to be than the init image.
    """

    request: GenerationRequest
    image_size: Size | None
    scale_by: float


def describe(engine: Engine, task_name: str, values: Mapping[str, Any]) -> dict[str, Note]:
    """Return the notes on a form's values by the name of the field above them; TASK is the whole form.

    Args:
        engine: Has the checkpoint and the uploads.
        task_name: The form's row of TASKS.
        values: Those of the form; see `make_page_request`. Invalid ones have no notes.

    Raises:
        NotFound: there is no such task.
    """
    request_type = page_request_type(engine, task_name)
    if issubclass(request_type, ExtrasRequest):
        return _describe_extras(engine, values)
    if not issubclass(request_type, GenerationRequest):
        return {}
    form = _read(engine, request_type, values)
    notes = {
        TASK: _task_note(engine, task_name, has_depth_map=bool(values.get("depth_map"))),
        "width": _native_size_note(engine, form.request),
        **{name: make(form) for name, make in _NOTES.items()},
    }
    return {name: note for name, note in notes.items() if note is not None}


def _read(
    engine: Engine, request_type: type[GenerationRequest], values: Mapping[str, Any]
) -> _Form:
    request = _read_request(request_type, values)
    factor = values.get(SCALE_BY, 1.0)
    scale_by = float(factor) if isinstance(factor, int | float) and factor > 0 else 1.0
    return _Form(request, _image_size(engine, values.get("init_image")), scale_by)


def _read_request(request_type: type[R], values: Mapping[str, Any]) -> R:
    """Return a request without images from the values that are valid."""
    images = {name for name, it in request_type.model_fields.items() if is_image_field(it)}
    numbers = {name: value for name, value in values.items() if name not in images}
    request = request_type()
    for name in request_type.model_fields.keys() & numbers.keys():
        try:
            value = getattr(validate_fields(request_type, {name: numbers[name]}), name)
        except WebUIError:
            continue  # the field itself says what is wrong
        request = request.model_copy(update={name: value})
    return request


def _image_size(engine: Engine, upload_id: object) -> Size | None:
    if not upload_id:
        return None
    try:
        upload = make_upload_store(engine).find(str(upload_id))
    except WebUIError:
        return None  # the field itself says so
    return upload.width, upload.height


def _describe_extras(engine: Engine, values: Mapping[str, Any]) -> dict[str, Note]:
    """Return the notes on the form of Extras."""
    request = _read_request(ExtrasRequest, values)
    notes = {
        f"{row.name.lower()}_visibility": _restorer_note(engine, row) for row in FACE_RESTORERS
    }
    notes |= _result_note(engine, request, values)
    return {name: note for name, note in notes.items() if note is not None}


def _restorer_note(engine: Engine, row: FaceRestorer) -> Note | None:
    """Return what a restorer of faces lacks."""
    try:
        find_restorer(engine.models, row)
    except WebUIError as error:
        return Note(str(error))
    return None


def _result_note(
    engine: Engine, request: ExtrasRequest, values: Mapping[str, Any]
) -> dict[str, Note]:
    """Return the size of the result, or why it would be too large."""
    image_size = _image_size(engine, values.get("image"))
    field_name = "upscaling_resize" if request.resize_mode == SCALE_BY_FACTOR else "upscaling_crop"
    if image_size is None or request.upscaler_1 == "None":
        return {}
    try:
        size = result_size(request, image_size, engine.settings)
    except WebUIError as error:
        return {field_name: Note(str(error))}
    return {field_name: Note(f"From {_text(image_size)} to {_text(size)}.")}


def _task_note(engine: Engine, task_name: str, *, has_depth_map: bool) -> Note | None:
    """Return why the checkpoint cannot do the task, with a button that chooses one that can.

    A refiner stays in use: the button makes it the refiner of a checkpoint that it can refine.
    """
    tasks, models = engine.registries.tasks, engine.models

    def refusal(checkpoint: Checkpoint) -> str:
        try:
            return str(incompatibility(task_name, models, checkpoint, has_depth_map, tasks) or "")
        except WebUIError as error:
            return str(error)

    try:
        chosen = engine.find_checkpoint()
        reason = refusal(chosen)
    except WebUIError:
        return None  # the bar says what is wrong with the checkpoint
    if not reason:
        return None
    able = [it for it in models.checkpoints() if not it.error and not refusal(it)]
    family = models.get_family(chosen)
    if family.is_refiner and _REFINER in page_request_type(engine, task_name).model_fields:
        able = [it for it in able if models.get_family(it).latent_format == family.latent_format]
        able.sort(key=lambda it: bool(models.get_family(it).extra_input))  # ordinary ones first
        if able:
            label = f"Use it as the refiner of {able[0].name}"
            return Note(reason, label, {_REFINER: chosen.title}, able[0].name)
    return Note(reason, f"Choose {able[0].name}", checkpoint=able[0].name) if able else Note(reason)


def _native_size_note(engine: Engine, request: GenerationRequest) -> Note | None:
    native = engine.active_checkpoint.native_size()
    if min(request.width, request.height) >= native:
        return None
    return Note(below_native_size_note(engine.find_checkpoint().name, native))


def _hires_note(form: _Form) -> Note | None:
    request = form.request
    if not isinstance(request, Txt2ImgRequest):
        return None
    size = hires_size(request)
    return Note(f"From {_text(_size(request))} to {size.width}x{size.height}.")


def _picture_size_note(form: _Form) -> Note | None:
    """Return the size that the picture suggests."""
    request, image_size = form.request, form.image_size
    if image_size is None or not isinstance(request, InitImageRequest):
        return None
    if _outpaints(request):
        return None  # another note says it
    size = scale_size(image_size, form.scale_by, params_of(type(request))["width"])
    exact = round(image_size[0] * form.scale_by), round(image_size[1] * form.scale_by)
    rounding = "" if size == exact else f", rounded from {_text(exact)} to multiples of 8"
    factor = "" if form.scale_by == 1 else f" times {form.scale_by:g}"
    if size == _size(request):
        return Note(f"Width and height are the picture's{factor}{rounding}.") if rounding else None
    values = {"width": size[0], "height": size[1]}
    text = f"The picture's size{factor} is {_text(size)}{rounding}."
    return Note(text, "Size from the picture", values)


def _resize_note(form: _Form) -> Note | None:
    """Return what happens to a picture of other proportions than the result."""
    request, image_size = form.request, form.image_size
    if image_size is None or not isinstance(request, Img2ImgRequest):
        return None
    if _outpaints(request) or request.inpaint_full_res:
        return None
    if keeps_proportions(image_size, _size(request)):
        return None
    fitting = _FITTING[request.resize_mode]
    return Note(f"The picture is {fitting} {_text(_size(request))}; it is {_text(image_size)}.")


def _outpainting_note(form: _Form) -> Note | None:
    """Return the size of an outpainted result; if it distorts the picture, with a button that sets the right one."""
    request, image_size = form.request, form.image_size
    if image_size is None or not isinstance(request, Img2ImgRequest) or not _outpaints(request):
        return None
    left, top, right, bottom = request.outpaint_sides
    if request.inpaint_full_res:
        whole = image_size[0] + left + right, image_size[1] + top + bottom
        return Note(f"The result is {_text(whole)}: the whole picture and the added sides.")
    inner, whole = size_within_outpainted(request), _text(_size(request))
    if min(inner) >= _MIN_INNER and keeps_proportions(image_size, inner):
        return Note(f"The result is {whole}; {_text(inner)} of it is the picture.")
    fitting = outpainted_size(image_size, request, form.scale_by)
    values = {"width": fitting[0], "height": fitting[1]}
    if min(inner) < _MIN_INNER:
        text = f"The result is {whole}, and the added sides leave too little of it for the picture."
    else:
        how = _FITTING[request.resize_mode]
        text = f"The result is {whole}: the picture of {_text(image_size)} is {how} {_text(inner)}."
    return Note(text, f"Make it {_text(fitting)}", values)


def _outpaints(request: InitImageRequest) -> bool:
    return isinstance(request, Img2ImgRequest) and any(request.outpaint_sides)


def _size(request: GenerationRequest) -> Size:
    return request.width, request.height


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


_NOTES: Mapping[str, Callable[[_Form], Note | None]] = {
    "hr_scale": _hires_note,
    SCALE_BY: _picture_size_note,
    "resize_mode": _resize_note,
    "outpaint_left": _outpainting_note,
}
