"""Sends a generated image to another tab as its saved file, with its prompts, size and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
_PROMPTS = ("prompt", "negative_prompt")


def build_send_buttons(prefix: str) -> dict[str, gr.Button]:
    """Build the buttons in the current Gradio context and return them by the title of their target tab."""
    return {
        title: gr.Button(
            f"→ {title}", elem_id=f"{prefix}_to_{title.lower()}", min_width=90, size="sm"
        )
        for title in TARGETS
    }


def connect_send_buttons(engine: Engine, sender: Form, forms: Mapping[str, Form]) -> None:
    """Have the buttons under a form's images fill other forms.

    Args:
        engine: Source of the jobs' requests and of the settings.
        sender: Its selected image is sent; a form without an output panel has no buttons.
        forms: All forms, by their tab's title.
    """
    panel = sender.output_panel
    if panel is None:
        return
    for title, button in panel.send_buttons.items():
        target = forms[title]
        button.click(
            ImageSender(engine, target).send,
            [panel.job_id, panel.images, panel.selected_index],
            list(target.components.values()),
            js=f"(id, ...rest) => [webui.job('{panel.prefix}'), ...rest]",
            **PRIVATE_EVENT,
        ).then(None, js=f"() => {{ webui.open('{title}') }}")


@dataclass(frozen=True)
class ImageSender:
    """The event handler of the send buttons to one tab.

    Args:
        engine: Source of the jobs' requests and of the settings.
        target: The form to fill.
    """

    engine: Engine
    target: Form

    def send(
        self, job_id: str, images: tuple[GeneratedImage, ...], selected_index: int
    ) -> dict[Component, Any]:
        """Return the new values of the target's components, by component."""
        if selected_index >= len(images):
            return fill_form(self.target, {})
        image = images[selected_index]
        try:
            request = self.engine.job(job_id).request
            prompts = {name: getattr(request, name) for name in _PROMPTS}
        except WebUIError:  # the job is forgotten, but the image still exists
            prompts = {}
        with Image.open(image.path) as file:
            width, height = file.size
        settings = self.engine.settings
        size = {"width": width, "height": height} if settings.send_size else {}
        seed = {"seed": image.seed} if settings.send_seed else {}
        return fill_form(self.target, {**prompts, **size, **seed, "init_image": image.path})
