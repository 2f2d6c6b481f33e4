"""Many pictures repainted alike: uploaded files, or those of a folder on the server, each with what stands in the form."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.batch_folders import list_input_images, validate_output_folder
from modules.params.image import ImageField
from modules.params.param import params_of, validate
from modules.params.requests.base import GenerationRequest
from modules.ui.components.size import SCALE_BY, scale_size
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
    """Make the batch's own fields, which become extras of the form, and return the button that begins it."""
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
            _OUTPUT: ("Output folder", "a name inside outputs; empty saves as always"),
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
    """Have the button begin the batch, and the page follow it as it follows a job."""
    panel = form.output_panel
    assert panel is not None

    def start(values: Mapping[Component, Any]) -> tuple[str, str]:
        try:
            return _begin(engine, form, form.read_raw(values)), ""
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


def _begin(engine: Engine, form: Form, raw: dict[str, Any]) -> str:
    """Return the id of the batch that was begun with what stands in a form."""
    files = [Path(file["path"]) for file in raw[_FILES] or []]
    folder = str(raw[_FOLDER] or "")
    if folder.strip() and not files:
        files = list_input_images(folder, engine.paths)
    if not files:
        raise UserError("There are no pictures for a batch.", "Put some in, or name a folder.")
    side = params_of(form.request_type)["width"]

    def request_for(file: Path) -> GenerationRequest:
        values = {**raw, "init_image": _content(file)}
        if raw[_OWN_SIZE]:
            size = ImageField.from_bytes(values["init_image"]).size
            values["width"], values["height"] = scale_size(size, float(raw[SCALE_BY]), side)
        return validate(
            form.request_type, coerce_integers(form.request_type, form.request_values(values))
        )

    return engine.file_batches.start(
        files, request_for, validate_output_folder(str(raw[_OUTPUT] or ""))
    ).id


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.") from None
