"""Sends what came of one tab on to another: the picture as the file that was saved, and the words and sizes of its making."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image
from pydantic import ValidationError

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.results import GeneratedImage
from modules.ui.events import QUIET
from modules.ui.form import Form, shown

TARGETS = ("img2img", "Inpaint", "Depth")  # titles of tabs whose form has an `init_image`
_WORDS = ("prompt", "negative_prompt")


def fill(form: Form, values: Mapping[str, Any]) -> dict[Component, Any]:
    """Return what an event whose outputs are the form's components answers to put values into it.

    Args:
        form: The other fields stay as they are.
        values: By field name, pictures as the path of a file that the page may show. What the form has no field for,
            or what is not valid there, is left out.
    """
    return {
        component: str(values[name])
        if name in form.pictures and values.get(name)
        else shown(values[name])
        if name in values and _is_valid(form, name, values[name])
        else gr.skip()
        for name, component in form.components.items()
    }


def _is_valid(form: Form, name: str, value: Any) -> bool:
    try:
        form.model.model_validate({name: value})
    except ValidationError:
        return False
    return True


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
    source = sender.output
    if source is None:
        return
    for title, button in source.send.items():
        form = forms[title]
        button.click(
            _sender(engine, form),
            [source.job_id, source.images, source.selected],
            list(form.components.values()),
            js=f"(id, ...rest) => [webui.job('{source.prefix}'), ...rest]",
            **QUIET,
        ).then(None, js=f"() => {{ webui.open('{title}') }}")


def _sender(
    engine: Engine, form: Form
) -> Callable[[str, tuple[GeneratedImage, ...], int], dict[Component, Any]]:
    def send(
        job_id: str, images: tuple[GeneratedImage, ...], selected: int
    ) -> dict[Component, Any]:
        if selected >= len(images):
            return fill(form, {})
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
        return fill(form, {**words, **size, **seed, "init_image": image.path})

    return send
