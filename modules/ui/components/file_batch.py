"""A file batch: img2img of uploaded files, or of a server folder's files, all with the form's current values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.core.errors import UserError, WebUIError
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.jobs.batch_folders import list_input_images, validate_output_folder
from modules.images.inpaint.mask_sources import FILE
from modules.params.image import ImageField
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import mask_kind
from modules.scripts.file_batch import FILE_BATCH
from modules.ui.components.paint_canvas import MASK_SOURCE
from modules.ui.components.size import SCALE_BY
from modules.ui.forms.form import Form, coerce_integers
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

logger = logging.getLogger(__name__)

_FILES, _FOLDER, _OUTPUT, _OWN_SIZE = (
    "batch_files",
    "batch_folder",
    "batch_output",
    "batch_own_size",
)


def build_file_batch(form: Form) -> gr.Button:
    """Build the batch's fields, which become extra components of the form, and return the button that starts it."""
    with gr.Accordion("Batch: many pictures, one after another", open=False):
        form.transient[_FILES] = gr.File(
            label="Pictures",
            file_count="multiple",
            file_types=["image"],
            height=140,
            elem_id=f"{form.prefix}_{_FILES}",
        )
        texts = {
            _FOLDER: ("Or a folder on the server", "such as inputs/holidays"),
            _OUTPUT: ("Output folder", "a name inside outputs; empty uses the usual folder"),
        }
        for name, (label, placeholder) in texts.items():
            form.extra_components[name] = gr.Textbox(
                "", label=label, placeholder=placeholder, elem_id=f"{form.prefix}_{name}"
            )
        form.extra_components[_OWN_SIZE] = gr.Checkbox(
            False,
            label="Each picture's own size, times Resize by",
            elem_id=f"{form.prefix}_{_OWN_SIZE}",
        )
        return gr.Button("Generate the batch", elem_id=f"{form.prefix}_batch")


def connect_file_batch(engine: Engine, form: Form, button: gr.Button) -> None:
    """Have the button start the batch, and the page follow it like a job."""
    panel = form.output_panel
    assert panel is not None

    def start(values: Mapping[Component, Any]) -> tuple[str, str]:
        try:
            return start_file_batch(engine, form, form.read_raw(values)), ""
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return "", notice("error", str(error))

    button.click(
        start,
        set(form.all_components),
        [panel.job_id, panel.message],
        preprocess=False,
        **PRIVATE_EVENT,
    ).then(None, panel.job_id, js=f"(id) => {{ webui.follow('{panel.prefix}', id) }}")


def start_file_batch(engine: Engine, form: Form, raw: dict[str, Any]) -> str:
    """Start a batch and return its id.

    Args:
        engine: Runs the batch.
        form: Its values apply to every file.
        raw: The form's raw values.

    Raises:
        WebUIError: there are no files, or a folder is not allowed or does not exist.
    """
    files = [Path(file["path"]) for file in raw[_FILES] or []]
    folder = str(raw[_FOLDER] or "")
    if folder.strip() and not files:
        files = list_input_images(folder, engine.paths)
    if not files:
        raise UserError("There are no pictures for a batch.", "Upload some, or enter a folder.")
    args = {
        "files": tuple(escape(str(file)) for file in files),
        "output_folder": validate_output_folder(str(raw[_OUTPUT] or "")),
        "scale_by": float(raw[SCALE_BY]) if raw[_OWN_SIZE] else 0.0,
        "strokes": raw["init_image_strokes"] or "",
        "mask_source": raw.get(MASK_SOURCE, ""),
    }
    return engine.run_script(FILE_BATCH.name, _make_request(form, raw), args, "page").id


def _make_request(form: Form, raw: Mapping[str, Any]) -> GenerationRequest:
    """Return the request of every file: the form's, with an uploaded mask and without an init image."""
    fields = form.request_type.model_fields.keys() - form.image_fields
    values = {name: value for name, value in raw.items() if name in fields}
    if raw.get(MASK_SOURCE) == FILE and raw["mask"] is not None:
        values["mask"] = ImageField.from_bytes(raw["mask"], mask_kind(raw))
    return validate(form.request_type, coerce_integers(form.request_type, values))
