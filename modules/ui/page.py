"""The page: the checkpoint bar and the tabs below it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import gradio as gr

from modules.engine.engine import Engine
from modules.engine.registries import Tab
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
from modules.ui.notices import notice
from modules.ui.tabs import depth, gallery, img2img, inpaint, models, queue, settings, txt2img
from modules.ui.tabs.diffusion_process.tab import build as build_diffusion_process
from modules.ui.tabs.png_info.tab import build as build_png_info

ASSETS = Path(__file__).parent / "assets"
# Gradio adds the head's content when its own script runs, and does not wait for files: what it calls before webui.js
# is there is called then.
_LOAD_SCRIPT = """
window.webuiCalls = [];
window.webui = new Proxy({}, {get: (_, name) => (...args) => { window.webuiCalls.push([name, args]); }});
import(`${window.webuiAssets}/webui.js`);
"""


TABS = (
    Tab("txt2img", txt2img.build),
    Tab("img2img", img2img.build),
    Tab("Inpaint", inpaint.build),
    Tab("Depth", depth.build),
    Tab("PNG Info", build_png_info),
    Tab("Diffusion process", build_diffusion_process),
    Tab("Gallery", gallery.build),
    Tab("Models", models.build),
    Tab("Queue", queue.build),
    Tab("Settings", settings.build),
)


def build_page(engine: Engine) -> gr.Blocks:
    """Return the page; it is not served yet."""
    gr.set_static_paths(list(engine.image_saver.image_dirs))  # served by path, not copied
    with gr.Blocks(
        title="Stable Diffusion WebUI", analytics_enabled=False, fill_width=True
    ) as page:
        model_events = build_checkpoint_bar(engine, page)
        _build_extension_errors(engine)
        forms: dict[str, Form] = {}
        connectors: list[Callable[[Mapping[str, Form]], None]] = []
        with gr.Tabs():
            for tab in engine.registries.tabs:
                with gr.Tab(tab.name, id=tab.name, elem_id=f"tab_{tab.name.replace(' ', '_')}"):
                    message = build_compatibility_message(tab.name)
                    built = tab.build(engine)
                    if not isinstance(built, Form):
                        connectors += [built] if built else []
                        continue
                    events = [persist_form(built, page), *model_events]
                    connect_compatibility_message(engine, built, message, events)
                    restored, *_ = follow_native_size(engine, built, events)
                    restored.then(None, js=f"() => {{ webui.filled('{built.prefix}') }}")
                    persist_images(engine, built, page)
                    forms[tab.name] = built
        for form in forms.values():
            connect_send_buttons(engine, form, forms)
        connect_styles(engine, list(forms.values()), page)
        for connect in connectors:
            connect(forms)
        for state in [state for form in forms.values() for state in form.browser_states]:
            state.render()
        tooltips = {
            element: text for form in forms.values() for element, text in form.tooltips().items()
        }
        page.load(None, js=f"() => {{ webui.start({json.dumps(tooltips)}) }}")
    return page


def _build_extension_errors(engine: Engine) -> None:
    """Build a notice for each extension that failed, in the current Gradio context."""
    errors = engine.registries.extension_errors
    if errors:
        notices = "".join(notice("error", sentence) for sentence in errors)
        gr.HTML(notices, elem_id="extension_errors", padding=False)


def theme() -> gr.themes.Base:
    """Return the page's theme; its fonts need no request to another host."""
    fonts = ["system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
    return gr.themes.Default(
        primary_hue="orange",
        neutral_hue="slate",
        spacing_size="sm",
        radius_size="md",
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )


def assets_path() -> str:
    """Return the path under which the assets are served; it changes with their content, so that browsers may keep them."""
    contents = hashlib.sha256()
    for file in sorted(ASSETS.iterdir()):
        contents.update(file.read_bytes())
    return f"/webui/{contents.hexdigest()[:16]}"


def head(theme_mode: str | None, root_path: str = "") -> str:
    """Return the content of the page's head: styles, scripts and their variables.

    Args:
        theme_mode: "light" or "dark" if set on the command line.
        root_path: The path under which a reverse proxy serves the page, without a trailing slash.
    """
    assets = root_path + assets_path()
    variables = {
        "webuiColours": theme_mode,
        "webuiRoot": root_path,
        "webuiAssets": assets,
    }
    values = "".join(f"window.{name} = {json.dumps(value)};" for name, value in variables.items())
    styles = sorted(file.name for file in ASSETS.glob("*.css"))
    links = [f'<link rel="stylesheet" href="{assets}/{name}">' for name in styles]
    return f"<script>{values}\n{_LOAD_SCRIPT}</script>" + "".join(links)
