"""The output panel of a tab: Generate and Interrupt, progress, gallery and infotext.

The browser follows the job (assets/webui.js) and presses Collect when there are new images.
"""

from __future__ import annotations

import html
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.param import validate
from modules.params.results import GeneratedImage
from modules.ui.components.send import build_send_buttons
from modules.ui.forms.form import Form, coerce_integers
from modules.ui.forms.panel import GenerateButtons, OutputPanel
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

logger = logging.getLogger(__name__)


def build_generate_buttons(prefix: str) -> GenerateButtons:
    """Build the buttons in the current Gradio context; the browser shows them by the job's state."""
    return GenerateButtons(
        gr.Button(
            "Generate", variant="primary", elem_id=f"{prefix}_generate", elem_classes="generate"
        ),
        gr.Button(
            "Interrupt", variant="stop", elem_id=f"{prefix}_interrupt", elem_classes="interrupt"
        ),
        gr.Button("Skip this picture", elem_id=f"{prefix}_skip", elem_classes="skip"),
        gr.Button("↙ Read the prompt's infotext", elem_id=f"{prefix}_paste", size="sm"),
    )


def build_output(prefix: str) -> OutputPanel:
    """Build the panel in the current Gradio context."""
    progress = build_progress(prefix)
    message = gr.HTML("", elem_id=f"{prefix}_message", padding=False)
    gallery = gr.Gallery(
        label="Output",
        show_label=False,
        format="png",
        columns=2,
        object_fit="contain",
        preview=True,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=f"{prefix}_gallery",
        elem_classes="gallery",
    )
    with gr.Row(elem_classes="send"):
        send_buttons = build_send_buttons(prefix)
        show_process = gr.Button(
            "How it was made", elem_id=f"{prefix}_how", min_width=120, size="sm"
        )
    infotext = gr.HTML("", elem_id=f"{prefix}_infotext", padding=False)
    return OutputPanel(
        prefix,
        progress,
        gallery,
        infotext,
        message,
        gr.Textbox(visible="hidden", elem_id=f"{prefix}_job"),
        gr.Button("Collect", visible="hidden", elem_id=f"{prefix}_collect"),
        gr.State(()),
        gr.State(0),
        show_process,
        send_buttons,
    )


def build_progress(prefix: str) -> gr.HTML:
    """Build bar, status text and preview of a running job in the current Gradio context."""
    return gr.HTML(_PROGRESS, elem_id=f"{prefix}_progress", padding=False)


def connect_output(
    engine: Engine, form: Form, buttons: GenerateButtons, panel: OutputPanel
) -> None:
    """Connect a tab's events: submit, follow, collect, select."""

    def submit(values: Mapping[Component, Any]) -> tuple[str, str]:
        return submit_form(engine, form, values)

    inputs: set[Block] = set(form.all_components)
    output = JobOutput(engine)
    buttons.generate.click(
        submit,
        inputs=inputs,
        outputs=[panel.job_id, panel.message],
        preprocess=False,  # see Form.read; Gradio still checks that a file was uploaded
        **PRIVATE_EVENT,
    ).then(None, inputs=panel.job_id, js=f"(id) => {{ webui.follow('{panel.prefix}', id) }}")
    buttons.interrupt.click(None, js=f"() => {{ webui.interrupt('{panel.prefix}') }}")
    buttons.skip.click(None, js=f"() => {{ webui.skip('{panel.prefix}') }}")
    panel.collect.click(
        output.collect,
        inputs=panel.job_id,
        outputs=[panel.gallery, panel.images, panel.selected_index, panel.infotext, panel.message],
        js=f"() => webui.job('{panel.prefix}')",
        trigger_mode="always_last",  # a click while one is pending would be lost, with the end of the job
        **PRIVATE_EVENT,
    )
    panel.gallery.select(
        _select_image,
        inputs=panel.images,
        outputs=[panel.selected_index, panel.infotext],
        **PRIVATE_EVENT,
    )


def submit_form(engine: Engine, form: Form, values: Mapping[Component, Any]) -> tuple[str, str]:
    """Submit a form as a job of the page; return the job's id, "" if it was refused, and the message."""
    try:
        request_values = coerce_integers(form.request_type, form.read(values))
        return engine.submit(validate(form.request_type, request_values), "page").id, ""
    except WebUIError as error:
        logger.info("Refused: %s", error)
        return "", notice("error", str(error))


@dataclass(frozen=True)
class JobOutput:
    """What an output panel shows of a job.

    Args:
        engine: Source of the jobs.
    """

    engine: Engine

    def collect(self, job_id: str) -> tuple[Any, ...]:
        """Return gallery, images, selected index, infotext and message of a job; its missing files are left out."""
        try:
            status = self.engine.status(job_id)
        except WebUIError as error:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), notice("error", str(error))
        notices = [notice("note", note) for note in status.notes]
        if status.error:
            kind = "error" if status.state == "failed" else "note"
            notices.append(notice(kind, status.error))
        message = "".join(notices)
        images = tuple(image for image in status.images if image.path.is_file())
        if not images:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), message
        gallery = gr.Gallery(
            value=[
                *((str(image.path), None) for image in images),
                *self.grid_items(job_id),
                *self.depth_map_items(job_id),
            ],
            selected_index=0 if len(images) == 1 else None,
            preview=len(images) == 1,
        )
        return gallery, images, 0, _infotext_html(images[0]), message

    def grid_items(self, job_id: str) -> list[tuple[str, str]]:
        """Return the grid of a job of this run as a gallery item, shown after the images; [] if there is none."""
        try:
            grid = self.engine.queue.job(job_id).grid_path
        except WebUIError:
            return []
        is_shown = grid is not None and self.engine.settings.return_grid and grid.is_file()
        return [(str(grid), "Grid")] if is_shown else []

    def depth_map_items(self, job_id: str) -> list[tuple[Image.Image, str]]:
        """Return the depth map of a job of this run as a gallery item: shown after the images, not saved."""
        try:
            data = self.engine.job(job_id).depth_map()
        except WebUIError:
            return []
        return [(Image.open(io.BytesIO(data)), "Depth map")] if data else []


def _select_image(images: tuple[GeneratedImage, ...], event: gr.SelectData) -> tuple[int, str]:
    index = event.index if isinstance(event.index, int) else 0
    if index >= len(images):
        return 0, ""
    return index, _infotext_html(images[index])


def _infotext_html(image: GeneratedImage) -> str:
    short_path = "/".join(image.path.parts[-3:])
    return (
        f'<pre class="infotext">{html.escape(image.infotext)}</pre>'
        f'<p class="saved">Saved: {html.escape(short_path)}</p>'
    )


_PROGRESS = """
<div class="progress" hidden>
  <div class="bar"><div class="done"></div></div>
  <div class="words" aria-live="polite"></div>
  <img class="preview" alt="Preview of the running picture" hidden>
</div>
"""
