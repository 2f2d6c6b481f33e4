"""A file batch: many uploads, or the images of a folder on the server, each with the form's current values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from modules.core.errors import UserError
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.jobs.batch_folders import list_input_images, validate_output_folder
from modules.engine.jobs.job_group import JobGroup
from modules.engine.page.requests import (
    make_page_request,
    page_request_type,
    read_form,
    read_mask,
    read_painting,
    validate_fields,
)
from modules.engine.page.uploads import make_upload_store
from modules.params.requests.extras import ExtrasRequest
from modules.scripts.control_batch import CONTROL_BATCH
from modules.scripts.extras_batch import EXTRAS_BATCH
from modules.scripts.file_batch import FILE_BATCH

_FILES, _FOLDER, _OUTPUT = "batch_files", "batch_folder", "batch_output"
_UNIT = "batch_unit"
_OWN_SIZE, SCALE_BY = "batch_own_size", "scale_by"
_MAX_NAME_LENGTH = 120


def start_file_batch(engine: Engine, task_name: str, values: Mapping[str, Any]) -> JobGroup:
    """Start a batch and return it.

    Args:
        engine: Runs the batch.
        task_name: "img2img", "inpaint" or "extras"; for units any task.
        values: Those of the form; see `make_page_request`. Also `batch_files`, a list of `{"id", "name"}` of uploads,
            or else `batch_folder`, a folder on the server; `batch_output`, a folder inside outputs; `batch_own_size`,
            whether each image keeps its size, times `scale_by`; `batch_unit`, the number of the ControlNet unit whose
            picture each image becomes, in place of the init image.

    Raises:
        WebUIError: there are no files, a folder is not allowed or does not exist, or a value is not valid.
    """
    files, names = _files(engine, values)
    if values.get(_UNIT) is not None:
        return _start_control_batch(engine, task_name, values, files, names)
    request_type = page_request_type(engine, task_name)
    raw = read_form(engine, request_type, {**values, "init_image": None, "image": None})
    output_folder = validate_output_folder(str(values.get(_OUTPUT) or ""))
    args: dict[str, Any] = {"files": files, "names": names, "output_folder": output_folder}
    if issubclass(request_type, ExtrasRequest):
        request = validate_fields(request_type, raw)
        return engine.run_script(EXTRAS_BATCH.name, request, args, "page")
    painting = read_painting(task_name, raw)
    raw["mask"] = read_mask(raw)
    args |= {
        "scale_by": values.get(SCALE_BY, 1.0) if values.get(_OWN_SIZE) else 0.0,
        "strokes": painting.strokes,
        "mask_source": painting.mask_source,
        "inpaint_sketch": painting.is_sketch,
        "inpaint_sketch_transparency": painting.transparency,
    }
    request = validate_fields(request_type, raw)
    return engine.run_script(FILE_BATCH.name, request, args, "page")


def _start_control_batch(
    engine: Engine,
    task_name: str,
    values: Mapping[str, Any],
    files: tuple[str, ...],
    names: tuple[str, ...],
) -> JobGroup:
    """Start a batch whose files become the pictures of a ControlNet unit."""
    request = make_page_request(engine, task_name, values)
    args: dict[str, Any] = {
        "files": files,
        "names": names,
        "output_folder": validate_output_folder(str(values.get(_OUTPUT) or "")),
        "unit": values[_UNIT],
    }
    return engine.run_script(CONTROL_BATCH.name, request, args, "page")


def _files(engine: Engine, values: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the paths of a batch's files, and what each is called."""
    uploads = make_upload_store(engine)
    chosen: Any = values.get(_FILES)  # JSON: anything
    if chosen:
        rows = cast("list[Any]", chosen)
        if not isinstance(chosen, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError("The pictures of the batch cannot be read.", "Choose them again.")
        paths = [uploads.path(str(row.get("id"))) for row in rows]
        return tuple(map(str, paths)), tuple(_name(row.get("name")) for row in rows)
    folder = str(values.get(_FOLDER) or "")
    if not folder.strip():
        raise UserError("There are no pictures for a batch.", "Choose some, or enter a folder.")
    images = list_input_images(folder, engine.paths)
    return tuple(escape(str(path)) for path in images), ()


def _name(value: object) -> str:
    """Return a file's name as the browser has it, without anything that would be a folder."""
    name = escape(str(value or "")).replace("/", "_").replace("\\", "_").strip(" .")
    printable = "".join(sign for sign in name if sign.isprintable())
    return printable[-_MAX_NAME_LENGTH:] or "picture"
