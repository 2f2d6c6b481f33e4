"""Layout and events of the PNG Info tab."""

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
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.output import build_progress
from modules.ui.forms.form import Form, Upload, build_image_upload, read_upload_bytes
from modules.ui.forms.paste import fill_from_infotext
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.png_info.rendering import (
    NO_INFOTEXT,
    render_fields,
    render_infotext,
    render_report,
)
from modules.ui.tabs.png_info.reproduce import Reproduction

PREFIX = "png_info"
IMAGE_FIELD = "init_image"  # the form field that gets the image
TARGETS = ("txt2img", "img2img", "Inpaint", "Depth")  # titles of the tabs to send to


@dataclass(frozen=True)
class _Components:
    """The tab's components."""

    image: gr.Image
    infotext: gr.HTML
    fields: gr.HTML
    report: gr.HTML
    send_buttons: Mapping[str, gr.Button]  # by the title of the target tab
    reproduce: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    message: gr.HTML
    verdict: gr.HTML
    gallery: gr.Gallery
    job_id: gr.Textbox
    collect: gr.Button


def build(engine: Engine) -> Callable[[Mapping[str, Form]], None]:
    """Build the tab in the current Gradio context; return the function that connects it to the forms by tab title."""
    tab = _build_components()
    tab.image.change(
        PngInfo(engine).show,
        tab.image,
        [tab.infotext, tab.fields, tab.report, tab.verdict, tab.gallery, tab.message],
        preprocess=False,
        **PRIVATE_EVENT,
    )
    reproduction = Reproduction(engine)
    tab.reproduce.click(
        reproduction.submit,
        tab.image,
        [tab.job_id, tab.message, tab.verdict],
        preprocess=False,
        **PRIVATE_EVENT,
    ).then(None, inputs=tab.job_id, js=f"(id) => {{ webui.follow('{PREFIX}', id) }}")
    tab.interrupt.click(None, js=f"() => {{ webui.interrupt('{PREFIX}') }}")
    tab.collect.click(
        reproduction.collect,
        tab.job_id,
        [tab.message, tab.verdict, tab.gallery],
        js=f"() => webui.job('{PREFIX}')",
        trigger_mode="always_last",  # a click while one is pending would be lost, with the end of the job
        **PRIVATE_EVENT,
    )
    return lambda forms: _connect_send_buttons(engine, tab, forms)


def _build_components() -> _Components:
    with gr.Row(elem_classes="workbench"):
        with gr.Column(min_width=320):
            image = build_image_upload(
                height=360,
                label="Picture (PNG, JPEG, WebP, AVIF or GIF, as it was saved)",
                elem_id=f"{PREFIX}_image",
            )
            with gr.Row(elem_classes="send"):
                send_buttons = {
                    title: gr.Button(
                        f"→ {title}",
                        elem_id=f"{PREFIX}_to_{title.lower()}",
                        min_width=90,
                        size="sm",
                    )
                    for title in TARGETS
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
            infotext = gr.HTML("", elem_id=f"{PREFIX}_infotext", padding=False)
            fields = gr.HTML("", elem_id=f"{PREFIX}_fields", padding=False)
    return _Components(
        image,
        infotext,
        fields,
        report,
        send_buttons,
        reproduce,
        interrupt,
        skip,
        message,
        verdict,
        gallery,
        gr.Textbox(visible="hidden", elem_id=f"{PREFIX}_job"),
        gr.Button("Collect", visible="hidden", elem_id=f"{PREFIX}_collect"),
    )


def read_upload(engine: Engine, upload: Mapping[str, Any]) -> tuple[Metadata, InfotextResult]:
    """Return an upload's metadata, and its infotext interpreted as the type of request that made the image.

    Raises:
        UserError: the file is not an image, is damaged, or no longer exists.
    """
    metadata = read_metadata(read_upload_bytes(upload))
    context = make_infotext_context(engine)
    infotext = extract_infotext(metadata, context.json_formats)
    result = interpret_infotext(infotext, context, Txt2ImgRequest)
    if result.needs_init_image:
        result = interpret_infotext(infotext, context, Img2ImgRequest)
    return metadata, result


@dataclass(frozen=True)
class PngInfo:
    """Event handler of the image box.

    Args:
        engine: Resolves the names in an infotext.
    """

    engine: Engine

    def show(self, upload: Upload) -> tuple[Any, ...]:
        """Return infotext, fields and report of an upload, a cleared verdict and gallery, and the message."""
        cleared = ("", gr.Gallery([], visible=False))
        if upload is None:
            return ("", "", "", *cleared, "")
        try:
            metadata, result = read_upload(self.engine, upload)
        except WebUIError as error:
            return ("", "", "", *cleared, notice("error", str(error)))
        infotext = extract_infotext(metadata, self.engine.registries.json_formats)
        if not infotext.prompt and not infotext.pairs:
            return ("", "", NO_INFOTEXT, *cleared, "")
        return (
            render_infotext(infotext),
            render_fields(infotext, result),
            render_report(result),
            *cleared,
            "",
        )


def _connect_send_buttons(engine: Engine, tab: _Components, forms: Mapping[str, Form]) -> None:
    for title, button in tab.send_buttons.items():
        form = forms[title]
        button.click(
            InfotextSender(engine, form, tab.message).send,
            tab.image,
            [*form.all_components, tab.message],
            preprocess=False,
            **PRIVATE_EVENT,
        ).then(None, js=f"() => {{ webui.open('{title}') }}")


@dataclass(frozen=True)
class InfotextSender:
    """Event handler of the send button to one tab.

    Args:
        engine: Resolves the names in an infotext.
        target: The form to fill.
        message: The PNG Info tab's message.
    """

    engine: Engine
    target: Form
    message: gr.HTML

    def send(self, upload: Upload) -> Mapping[Block, Any]:
        """Return the new values of the target's components and of the message, by component."""
        if upload is None:
            return {self.message: notice("note", "Upload a picture first.")}
        try:
            metadata = read_metadata(read_upload_bytes(upload))
        except WebUIError as error:
            return {self.message: notice("error", str(error))}
        context = make_infotext_context(self.engine)
        infotext = extract_infotext(metadata, context.json_formats)
        result = interpret_infotext(infotext, context, self.target.request_type)
        values: dict[Block, Any] = {self.message: ""}
        values |= fill_from_infotext(self.engine, self.target, result)
        if IMAGE_FIELD in self.target.image_fields:
            values[self.target.components[IMAGE_FIELD]] = upload["path"]
        return values
