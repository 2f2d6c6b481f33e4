"""The Gallery tab: every saved image. The browser renders it (assets/gallery.js); Gradio only fills the other forms."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.gallery.gallery import GalleryImage
from modules.engine.infotext_context import read_infotext
from modules.ui.components.scripted_html import build_scripted_html
from modules.ui.forms.form import Form
from modules.ui.forms.paste import fill_form, fill_from_infotext
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

TARGETS = ("txt2img", "img2img", "Inpaint", "Depth")  # titles of the tabs to send to
_IMAGE_FIELD = "init_image"  # the form field that gets the image
_SEARCH_HELP = (
    "Words that all occur, in any order. &quot;two words&quot; keeps them together, -word excludes. Or look in one place:"
    " model:dream sampler:euler seed:7 size:512x768 date:2026-01 date:2026-01-01..2026-01-31 name:00012"
)
_HTML = f"""
<div id="pictures" class="pic">
  <div class="pic-tools" role="search">
    <input type="search" class="pic-search" data-filter="text" maxlength="4000" placeholder="Search prompt, model, sampler, seed, size:512x768, date:2026-01"
      aria-label="Search" title="{_SEARCH_HELP}">
    <select data-filter="folder" aria-label="Folder" hidden></select>
    <select data-filter="model" aria-label="Model" hidden></select>
    <select data-filter="sampler" aria-label="Sampler" hidden></select>
    <select data-filter="size" aria-label="Size" hidden></select>
    <label class="pic-date">From <input type="date" data-filter="since"></label>
    <label class="pic-date">to <input type="date" data-filter="until"></label>
  </div>
  <div class="pic-status">
    <button type="button" data-switch="favourites" aria-pressed="false" title="Show favourites alone">★ Favourites</button>
    <button type="button" data-switch="trashed" aria-pressed="false" title="Show what is in the trash">Trash <span class="pic-trash-count"></span></button>
    <button type="button" data-switch="oldest_first" aria-pressed="false" title="Show the oldest pictures first">Oldest first</button>
    <input type="range" class="pic-side" min="90" max="320" step="10" aria-label="Size of the thumbnails" title="Size of the thumbnails">
    <p class="pic-words" role="status"></p>
    <button type="button" class="pic-renew" data-act="renew" hidden>The pictures have changed: show them</button>
  </div>
  <p class="notice pic-remark" hidden></p>
  <div class="pic-actions" role="toolbar" aria-label="Chosen pictures" hidden>
    <span class="pic-chosen-words" role="status"></span>
    <button type="button" data-act="compare" title="Compare two pictures with a slider, and list what differs">Compare</button>
    <button type="button" data-act="favourite" title="Make them favourites, or no longer (F)">★ Favourite</button>
    <button type="button" data-act="zip" title="Download them as one archive">Zip</button>
    <button type="button" data-act="trash" title="Move them to the trash (Del)">Trash</button>
    <button type="button" data-act="restore" title="Move them back to their folders" hidden>Restore</button>
    <button type="button" data-act="clear" title="Choose none (Esc)">Clear</button>
  </div>
  <div class="pic-viewport"><p class="pic-empty"></p></div>
  <div class="pic-toast" role="status" hidden></div>
</div>
"""


def build(engine: Engine) -> Callable[[Mapping[str, Form]], None]:
    """Build the tab in the current Gradio context; return the function that connects it to the forms by tab title."""
    message = gr.HTML("", elem_id="gallery_message", padding=False)
    build_scripted_html(_HTML, "gallery.js", "gallery_panel")
    image_id = gr.Textbox(visible="hidden", elem_id="gallery_image")
    buttons = {
        title: gr.Button(title, visible="hidden", elem_id=f"gallery_to_{title.lower()}")
        for title in TARGETS
    }

    def connect(forms: Mapping[str, Form]) -> None:
        for title, button in buttons.items():
            form = forms[title]
            button.click(
                GallerySender(engine, form, message).send,
                image_id,
                [*form.all_components, message],
                js="() => document.getElementById('pictures').dataset.sent",
                **PRIVATE_EVENT,
            ).then(None, message, js=f"(error) => {{ if (!error) webui.open('{title}') }}")

    return connect


@dataclass(frozen=True)
class GallerySender:
    """Event handler of the hidden button that sends an image to one tab.

    Args:
        engine: Holds the gallery, and resolves the names in an infotext.
        target: The form to fill.
        message: The Gallery tab's message.
    """

    engine: Engine
    target: Form
    message: gr.HTML

    def send(self, image_id: str) -> Mapping[Block, Any]:
        """Return the new values of the target's components and of the message, by component."""
        try:
            image = self.engine.gallery.find(image_id)
            result = read_infotext(self.engine, image.row["infotext"], self.target.request_type)
            values: dict[Block, Any] = {self.message: ""}
            values |= (
                fill_from_infotext(self.engine, self.target, result)
                if image.row["infotext"]
                else fill_form(self.target, {})
            )
            if _IMAGE_FIELD in self.target.image_fields:
                values[self.target.components[_IMAGE_FIELD]] = str(self._readable(image))
        except WebUIError as error:
            return {self.message: notice("error", str(error))}
        except OSError as error:
            return {self.message: notice("error", f"The picture cannot be read: {error}.")}
        return values

    def _readable(self, image: GalleryImage) -> Path:
        """Return a file that Gradio may read: the image's, or a copy of one outside the folders of this program."""
        if any(
            image.path.is_relative_to(one.resolve()) for one in self.engine.image_saver.image_dirs
        ):
            return image.path
        folder = self.engine.paths.gradio_temp / "gallery" / image.row["id"]
        folder.mkdir(parents=True, exist_ok=True)
        copy = folder / f"image{image.path.suffix.lower()}"
        shutil.copyfile(image.path, copy)
        return copy
