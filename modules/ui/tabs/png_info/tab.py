"""The PNG Info tab: what a picture's file tells, sent to a form or carried out again and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.images.metadata import Metadata, read_metadata
from modules.infotext import InfotextResult, extract_infotext, interpret_infotext
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.output import build_progress
from modules.ui.forms.form import Form, Upload, read_upload_bytes
from modules.ui.forms.paste import fill_from_infotext
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.png_info.rendering import (
    NO_INFOTEXT,
    render_fields,
    render_infotext,
    render_report,
)
from modules.ui.tabs.png_info.reproduce import _collector, _submitter

PREFIX = "png_info"
IMAGE_FIELD = "init_image"  # the field of a form that takes the picture, too


@dataclass(frozen=True)
class _Parts:
    """The tab's components."""

    image: gr.Image
    infotext: gr.HTML
    fields: gr.HTML
    report: gr.HTML
    send_buttons: Mapping[str, gr.Button]  # by the title of the tab that is sent to
    reproduce: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    message: gr.HTML
    verdict: gr.HTML
    gallery: gr.Gallery
    job_id: gr.Textbox
    collect: gr.Button
    reproduce_job: gr.State  # a ReproduceJob


def build(engine: Engine) -> Callable[[Mapping[str, Form]], None]:
    """Make the tab where the page stands; what is returned wires it to the forms, by their tabs' titles."""
    parts = _build()
    parts.image.change(
        _shower(engine),
        parts.image,
        [parts.infotext, parts.fields, parts.report, parts.verdict, parts.gallery, parts.message],
        preprocess=False,
        **PRIVATE_EVENT,
    )
    parts.reproduce.click(
        _submitter(engine),
        parts.image,
        [parts.reproduce_job, parts.job_id, parts.message, parts.verdict],
        preprocess=False,
        **PRIVATE_EVENT,
    ).then(None, inputs=parts.job_id, js=f"(id) => {{ webui.follow('{PREFIX}', id) }}")
    parts.interrupt.click(None, js=f"() => {{ webui.interrupt('{PREFIX}') }}")
    parts.collect.click(
        _collector(engine),
        [parts.job_id, parts.reproduce_job],
        [parts.message, parts.verdict, parts.gallery],
        js=f"(id, asked) => [webui.job('{PREFIX}'), asked]",
        **PRIVATE_EVENT,
    )
    return lambda forms: _connect_send(engine, parts, forms)


def _build() -> _Parts:
    with gr.Row(elem_classes="workbench"):
        with gr.Column(min_width=320):
            image = gr.Image(
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                height=360,
                label="Picture (PNG, JPEG, WebP, AVIF or GIF, as it was saved)",
                elem_id=f"{PREFIX}_image",
            )
            with gr.Row(elem_classes="send"):
                send = {
                    title: gr.Button(
                        f"→ {title}",
                        elem_id=f"{PREFIX}_to_{title.lower()}",
                        min_width=90,
                        size="sm",
                    )
                    for title in ("txt2img", "img2img", "Inpaint", "Depth")
                }
            reproduce = gr.Button(
                "Reproduce",
                variant="primary",
                elem_id=f"{PREFIX}_generate",
                elem_classes="generate",
            )
            interrupt = gr.Button(
                "Interrupt", variant="stop", elem_id=f"{PREFIX}_interrupt", elem_classes="interrupt"
            )
            skip = gr.Button("Skip", visible="hidden", elem_id=f"{PREFIX}_skip")
            message = gr.HTML("", elem_id=f"{PREFIX}_message", padding=False)
            build_progress(PREFIX)
            verdict = gr.HTML("", elem_id=f"{PREFIX}_verdict", padding=False)
            gallery = gr.Gallery(
                label="The picture, made again, the difference",
                columns=3,
                height=260,
                format="png",
                visible=False,
                interactive=False,
                elem_id=f"{PREFIX}_gallery",
            )
        with gr.Column(min_width=320):
            report = gr.HTML("", elem_id=f"{PREFIX}_report", padding=False)
            text = gr.HTML("", elem_id=f"{PREFIX}_infotext", padding=False)
            fields = gr.HTML("", elem_id=f"{PREFIX}_fields", padding=False)
    return _Parts(
        image,
        text,
        fields,
        report,
        send,
        reproduce,
        interrupt,
        skip,
        message,
        verdict,
        gallery,
        gr.Textbox(visible="hidden", elem_id=f"{PREFIX}_job"),
        gr.Button("Collect", visible="hidden", elem_id=f"{PREFIX}_collect"),
        gr.State(None),
    )


def read_upload(engine: Engine, upload: Mapping[str, Any]) -> tuple[Metadata, InfotextResult]:
    """Return what an upload's file tells, as a request of the kind that made the picture.

    Raises:
        UserError: it is no picture, damaged, or gone.
    """
    metadata = read_metadata(read_upload_bytes(upload))
    words = extract_infotext(metadata)
    reading = interpret_infotext(words, make_infotext_context(engine), Txt2ImgRequest)
    if reading.needs_init_image:
        reading = interpret_infotext(words, make_infotext_context(engine), Img2ImgRequest)
    return metadata, reading


def _shower(engine: Engine) -> Callable[[Upload], tuple[Any, ...]]:
    def show(upload: Upload) -> tuple[Any, ...]:
        emptied = ("", gr.Gallery([], visible=False))
        if upload is None:
            return ("", "", "", *emptied, "")
        try:
            metadata, reading = read_upload(engine, upload)
        except WebUIError as error:
            return ("", "", "", *emptied, notice("error", str(error)))
        words = extract_infotext(metadata)
        if not words.prompt and not words.pairs:
            return ("", "", NO_INFOTEXT, *emptied, "")
        return (
            render_infotext(words),
            render_fields(words, reading),
            render_report(reading),
            *emptied,
            "",
        )

    return show


def _connect_send(engine: Engine, parts: _Parts, forms: Mapping[str, Form]) -> None:
    for title, button in parts.send_buttons.items():
        form = forms[title]
        button.click(
            _sender(engine, form, parts.message),
            parts.image,
            [*form.all_components, parts.message],
            preprocess=False,
            **PRIVATE_EVENT,
        ).then(None, js=f"() => {{ webui.open('{title}') }}")


def _sender(
    engine: Engine, form: Form, message: gr.HTML
) -> Callable[[Upload], Mapping[Block, Any]]:
    model: type[GenerationRequest] = form.request_type

    def send(upload: Upload) -> Mapping[Block, Any]:
        if upload is None:
            return {message: notice("note", "Put a picture in first.")}
        try:
            metadata = read_metadata(read_upload_bytes(upload))
        except WebUIError as error:
            return {message: notice("error", str(error))}
        answer: dict[Block, Any] = {message: ""}
        answer |= fill_from_infotext(
            engine,
            form,
            interpret_infotext(extract_infotext(metadata), make_infotext_context(engine), model),
        )
        if IMAGE_FIELD in form.image_fields:
            answer[form.components[IMAGE_FIELD]] = upload["path"]
        return answer

    return send
