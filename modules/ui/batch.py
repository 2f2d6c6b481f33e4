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
from modules.ui.events import QUIET
from modules.ui.form import Form
from modules.ui.output import stated
from modules.ui.picture_size import FACTOR, scaled
from modules.ui.words import notice

logger = logging.getLogger(__name__)

_FILES, _FOLDER, _OUTPUT, _OWN_SIZE = (
    "batch_files",
    "batch_folder",
    "batch_output",
    "batch_own_size",
)


def build_batch(form: Form) -> gr.Button:
    """Make the batch's own fields, which become extras of the form, and return the button that begins it."""
    with gr.Accordion("Batch: many pictures, one after another", open=False):
        form.passing[_FILES] = gr.File(
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
            form.extras[name] = gr.Textbox(
                "", label=label, placeholder=placeholder, elem_id=f"{form.prefix}_{name}"
            )
        form.extras[_OWN_SIZE] = gr.Checkbox(
            False,
            label="Each picture's own size, times Resize by",
            elem_id=f"{form.prefix}_{_OWN_SIZE}",
        )
        return gr.Button("Generate the batch", elem_id=f"{form.prefix}_batch")


def connect_batch(engine: Engine, form: Form, button: gr.Button) -> None:
    """Have the button begin the batch, and the page follow it as it follows a job."""
    panel = form.output
    assert panel is not None

    def start(values: Mapping[Component, Any]) -> tuple[str, str]:
        try:
            return _begin(engine, form, form.raw(values)), ""
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return "", notice("error", str(error))

    button.click(
        start,
        set(form.all_components),
        [panel.job_id, panel.message],
        preprocess=False,
        **QUIET,
    ).then(None, panel.job_id, js=f"(id) => {{ webui.follow('{panel.prefix}', id) }}")


def _begin(engine: Engine, form: Form, raw: dict[str, Any]) -> str:
    """Return the id of the batch that was begun with what stands in a form."""
    files = [Path(file["path"]) for file in raw[_FILES] or []]
    folder = str(raw[_FOLDER] or "")
    if folder.strip() and not files:
        files = list_input_images(folder, engine.paths)
    if not files:
        raise UserError("There are no pictures for a batch.", "Put some in, or name a folder.")
    side = params_of(form.model)["width"]

    def request_for(file: Path) -> GenerationRequest:
        values = {**raw, "init_image": _content(file)}
        if raw[_OWN_SIZE]:
            size = ImageField.from_bytes(values["init_image"]).size
            values["width"], values["height"] = scaled(size, float(raw[FACTOR]), side)
        return validate(form.model, stated(form.model, form.finished(values)))

    return engine.file_batches.start(
        files, request_for, validate_output_folder(str(raw[_OUTPUT] or ""))
    ).id


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.") from None
