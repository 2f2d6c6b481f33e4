"""The page: checkpoint bar above, tabs below."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from modules.engine.engine import Engine
from modules.ui.browser_state import persist_form, persist_images
from modules.ui.components.checkpoint_bar import build_checkpoint_bar
from modules.ui.components.compatibility import (
    build_compatibility_message,
    connect_compatibility_message,
)
from modules.ui.components.send import connect_send_buttons
from modules.ui.components.size import follow_native_size
from modules.ui.components.styles import connect_styles
from modules.ui.forms.form import Form
from modules.ui.tabs import depth, img2img, inpaint, queue, settings, txt2img
from modules.ui.tabs.diffusion_process.tab import build as build_diffusion_process
from modules.ui.tabs.png_info.tab import build as build_png_info

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("canvas.js", "queue.js", "settings.js", "webui.js")


@dataclass(frozen=True)
class Tab:
    """One row of TABS: its title and the function that builds it.

    It returns the form of a tab that makes pictures; for any other None, or what wires it to the forms, which are
    handed over by their tabs' titles once all are there.
    """

    title: str
    build: Callable[[Engine], Form | Callable[[Mapping[str, Form]], None] | None]


TABS: tuple[Tab, ...] = (
    Tab("txt2img", txt2img.build),
    Tab("img2img", img2img.build),
    Tab("Inpaint", inpaint.build),
    Tab("Depth", depth.build),
    Tab("PNG Info", build_png_info),
    Tab("Diffusion process", build_diffusion_process),
    Tab("Queue", queue.build),
    Tab("Settings", settings.build),
)


def build_page(engine: Engine) -> gr.Blocks:
    """Return the page; nothing is served yet."""
    gr.set_static_paths(list(engine.image_saver.image_dirs))  # shown by path, not by copy
    with gr.Blocks(
        title="Stable Diffusion WebUI", analytics_enabled=False, fill_width=True
    ) as page:
        chosen = build_checkpoint_bar(engine, page)
        forms: dict[str, Form] = {}
        connects: list[Callable[[Mapping[str, Form]], None]] = []
        with gr.Tabs():
            for tab in TABS:
                with gr.Tab(tab.title, id=tab.title, elem_id=f"tab_{tab.title.replace(' ', '_')}"):
                    line = build_compatibility_message(tab.title)
                    form = tab.build(engine)
                    if not isinstance(form, Form):
                        connects += [form] if form else []
                        continue
                    events = [persist_form(form, page), *chosen]
                    connect_compatibility_message(engine, form, line, events)
                    filled, *_ = follow_native_size(engine, form, events)
                    filled.then(None, js=f"() => {{ webui.filled('{form.prefix}') }}")
                    persist_images(engine, form, page)
                    forms[tab.title] = form
        for form in forms.values():
            connect_send_buttons(engine, form, forms)
        connect_styles(engine, list(forms.values()), page)
        for connect in connects:
            connect(forms)
        for state in [state for form in forms.values() for state in form.browser_states]:
            state.render()
        helps = {
            element: text for form in forms.values() for element, text in form.tooltips().items()
        }
        page.load(None, js=f"() => {{ webui.start({json.dumps(helps)}) }}")
    return page


def theme() -> gr.themes.Base:
    """Return the page's colours and fonts; nothing is fetched from other hosts."""
    fonts = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="md",
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )


def head(theme_mode: str | None, root_path: str = "") -> str:
    """Return what goes into the page's head: our script, and what it has to know.

    Args:
        theme_mode: "light" or "dark" if the command line chose them.
        root_path: The path below which a reverse proxy shows the page, without a slash behind it.
    """
    scripts = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    known = f"window.webuiColours = {json.dumps(theme_mode)};\nwindow.webuiRoot = {json.dumps(root_path)};"
    return f"<script>{known}\n{scripts}</script>"
