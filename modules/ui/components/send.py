"""Sends what came of one tab on to another: the picture as the file that was saved, and the words and sizes of its making."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.results import GeneratedImage
from modules.ui.forms.form import Form
from modules.ui.forms.paste import fill_form
from modules.ui.gradio_events import PRIVATE_EVENT

TARGETS = ("img2img", "Inpaint", "Depth")  # titles of tabs whose form has an `init_image`
_WORDS = ("prompt", "negative_prompt")


def build_send_buttons(prefix: str) -> dict[str, gr.Button]:
    """Make the buttons where the page stands; by the title of the tab they send to."""
    return {
        title: gr.Button(
            f"→ {title}", elem_id=f"{prefix}_to_{title.lower()}", min_width=90, size="sm"
        )
        for title in TARGETS
    }


def connect_send_buttons(engine: Engine, sender: Form, forms: Mapping[str, Form]) -> None:
    """Have the buttons under a form's pictures fill other forms.

    Args:
        engine: Remembers how a picture was made.
        sender: The one of its pictures that is looked at is sent; a form that makes none has no buttons.
        forms: All forms, by their tab's title.
    """
    source = sender.output_panel
    if source is None:
        return
    for title, button in source.send_buttons.items():
        form = forms[title]
        button.click(
            _sender(engine, form),
            [source.job_id, source.images, source.selected_index],
            list(form.components.values()),
            js=f"(id, ...rest) => [webui.job('{source.prefix}'), ...rest]",
            **PRIVATE_EVENT,
        ).then(None, js=f"() => {{ webui.open('{title}') }}")


def _sender(
    engine: Engine, form: Form
) -> Callable[[str, tuple[GeneratedImage, ...], int], dict[Component, Any]]:
    def send(
        job_id: str, images: tuple[GeneratedImage, ...], selected: int
    ) -> dict[Component, Any]:
        if selected >= len(images):
            return fill_form(form, {})
        image = images[selected]
        try:
            request = engine.job(job_id).request
            words = {name: getattr(request, name) for name in _WORDS}
        except WebUIError:  # long past; the picture is still there
            words = {}
        with Image.open(image.path) as picture:
            width, height = picture.size
        size = {"width": width, "height": height} if engine.settings.send_size else {}
        seed = {"seed": image.seed} if engine.settings.send_seed else {}
        return fill_form(form, {**words, **size, **seed, "init_image": image.path})

    return send
