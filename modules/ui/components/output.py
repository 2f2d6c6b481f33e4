"""The output side of a tab: Generate and Interrupt, progress, gallery and infotext.

The browser follows the job by itself (assets/webui.js) and asks for the pictures when there are new ones.
"""

from __future__ import annotations

import html
import io
import logging
from collections.abc import Callable, Mapping
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
    """Make the buttons; the page shows those that the job's state has a use for."""
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
    """Make the panel where the page stands."""
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
        send = build_send_buttons(prefix)
        how = gr.Button("How it was made", elem_id=f"{prefix}_how", min_width=120, size="sm")
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
        how,
        send,
    )


def build_progress(prefix: str) -> gr.HTML:
    """Make the bar, the words and the preview of a running job where the page stands."""
    return gr.HTML(_PROGRESS, elem_id=f"{prefix}_progress", padding=False)


def connect_output(
    engine: Engine, form: Form, buttons: GenerateButtons, panel: OutputPanel
) -> None:
    """Wire a tab: submit, follow, collect, select."""
    inputs: set[Block] = set(form.all_components)
    buttons.generate.click(
        _submitter(engine, form),
        inputs=inputs,
        outputs=[panel.job_id, panel.message],
        preprocess=False,  # see Form.read; whether a file was uploaded is checked all the same
        **PRIVATE_EVENT,
    ).then(None, inputs=panel.job_id, js=f"(id) => {{ webui.follow('{panel.prefix}', id) }}")
    buttons.interrupt.click(None, js=f"() => {{ webui.interrupt('{panel.prefix}') }}")
    buttons.skip.click(None, js=f"() => {{ webui.skip('{panel.prefix}') }}")
    panel.collect.click(
        _collector(engine),
        inputs=panel.job_id,
        outputs=[panel.gallery, panel.images, panel.selected_index, panel.infotext, panel.message],
        js=f"() => webui.job('{panel.prefix}')",
        **PRIVATE_EVENT,
    )
    panel.gallery.select(
        _select,
        inputs=panel.images,
        outputs=[panel.selected_index, panel.infotext],
        **PRIVATE_EVENT,
    )


def _submitter(engine: Engine, form: Form) -> Callable[[Mapping[Component, Any]], tuple[str, str]]:
    def submit(values: Mapping[Component, Any]) -> tuple[str, str]:
        try:
            read = coerce_integers(form.request_type, form.read(values))
            return engine.submit(validate(form.request_type, read), "page").id, ""
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return "", notice("error", str(error))

    return submit


def _collector(engine: Engine) -> Callable[[str], tuple[Any, ...]]:
    def collect(job_id: str) -> tuple[Any, ...]:
        try:
            status = engine.status(job_id)
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
        pictures = gr.Gallery(
            value=[
                *((str(image.path), None) for image in images),
                *_grid_of(engine, job_id),
                *_depth_of(engine, job_id),
            ],
            selected_index=0 if len(images) == 1 else None,
            preview=len(images) == 1,
        )
        return pictures, images, 0, _infotext(images[0]), message

    return collect


def _grid_of(engine: Engine, job_id: str) -> list[tuple[str, str]]:
    """Return all pictures of a job of this run in one, shown behind them."""
    try:
        grid = engine.queue.job(job_id).grid_path
    except WebUIError:
        return []
    shown = grid is not None and engine.settings.return_grid and grid.is_file()
    return [(str(grid), "Grid")] if shown else []


def _depth_of(engine: Engine, job_id: str) -> list[tuple[Image.Image, str]]:
    """Return the depth by which a job of this run repainted a picture: shown behind its pictures, not saved."""
    try:
        data = engine.job(job_id).depth_map()
    except WebUIError:
        return []
    return [(Image.open(io.BytesIO(data)), "Depth map")] if data else []


def _select(images: tuple[GeneratedImage, ...], event: gr.SelectData) -> tuple[int, str]:
    index = event.index if isinstance(event.index, int) else 0
    if index >= len(images):
        return 0, ""
    return index, _infotext(images[index])


def _infotext(image: GeneratedImage) -> str:
    place = "/".join(image.path.parts[-3:])
    return (
        f'<pre class="infotext">{html.escape(image.infotext)}</pre>'
        f'<p class="saved">Saved: {html.escape(place)}</p>'
    )


_PROGRESS = """
<div class="progress" hidden>
  <div class="bar"><div class="done"></div></div>
  <div class="words" aria-live="polite"></div>
  <img class="preview" alt="Preview of the running picture" hidden>
</div>
"""
