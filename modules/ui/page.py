"""The page: one bar, the tabs below it, and the files that the browser builds them from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.registries import Tab
from modules.ui.forms.control_schema import control_schema
from modules.ui.forms.layout import FormLayout
from modules.ui.forms.layouts import DEPTH, EXTRAS, IMG2IMG, INPAINT, MERGER, PROCESS, TXT2IMG
from modules.ui.forms.schema import form_schema, script_schemas
from modules.ui.scripted_html import build_scripted_html, scripted_tab
from modules.ui.tabs import diffusion_process, extensions, gallery, models, queue, settings

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
# Gradio adds the head's content when its own script runs, and does not wait for files: what it calls before webui.js
# is there is called then.
_LOAD_SCRIPT = """
window.webuiCalls = [];
window.webui = new Proxy({}, {get: (_, name) => (...args) => { window.webuiCalls.push([name, args]); }});
import(`${window.webuiAssets}/webui.js`);
"""


TABS = (
    Tab("txt2img", form=TXT2IMG),
    Tab("img2img", form=IMG2IMG),
    Tab("Inpaint", form=INPAINT),
    Tab("Depth", form=DEPTH),
    Tab(
        "PNG Info",
        scripted_tab('<div class="ui png-info"></div>', "png_info.js", "png_info_tab"),
    ),
    Tab("Extras", form=EXTRAS),
    Tab("Diffusion process", diffusion_process.build),
    Tab("Gallery", gallery.build),
    Tab(
        "Checkpoint merger",
        scripted_tab('<div class="ui merger"></div>', "merger.js", "merger_tab"),
    ),
    Tab("Models", models.build),
    Tab("Queue", queue.build),
    Tab("Extensions", extensions.build),
    Tab("Settings", settings.build),
)


def build_page(engine: Engine) -> gr.Blocks:
    """Return the page; it is not served yet."""
    gr.set_static_paths(list(engine.image_saver.image_dirs))  # served by path, not copied
    with gr.Blocks(
        title="Stable Diffusion WebUI", analytics_enabled=False, fill_width=True
    ) as page:
        build_scripted_html('<div class="ui top-bar"></div>', "bar.js", "bar")
        with gr.Tabs(elem_id="tabs"):
            for tab in engine.registries.tabs:
                with gr.Tab(tab.name, id=tab.name, elem_id=f"tab_{tab.name.replace(' ', '_')}"):
                    if tab.form is not None:
                        _build_generation_tab(tab.form)
                    if tab.build is not None:
                        tab.build(engine)
                    if tab.script:
                        html = '<div class="ui extension-tab"></div>'
                        build_scripted_html(html, tab.script, f"{tab.name.replace(' ', '_')}_tab")
        page.load(None, js="() => { webui.start() }")
    return page


def _build_generation_tab(layout: FormLayout) -> None:
    """Build the element that the layout's module fills, in the current Gradio context."""
    html = f'<div class="ui generation" data-form="{layout.prefix}"></div>'
    build_scripted_html(html, layout.module, f"{layout.prefix}_tab")


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


def page_files(engine: Engine) -> dict[str, bytes]:
    """Return the files that the page is made of, by their path below the address of `page_address`."""
    files = {
        file.relative_to(ASSETS).as_posix(): file.read_bytes()
        for file in sorted(ASSETS.rglob("*.*"))
    }
    schemas = {tab.name: _tab_schema(engine, tab) for tab in engine.registries.tabs}
    shown = {name: schema for name, schema in schemas.items() if schema is not None}
    tabs = list(shown)
    forms = {schema["prefix"]: schema for schema in shown.values() if schema}
    tasks = {schema["task"] for schema in forms.values() if schema["generates"]}
    page = {
        "tabs": tabs,
        "forms": forms,
        **{layout.prefix: _form_schema(engine, layout) for layout in (PROCESS, MERGER)},
        "control": control_schema(),
        "scripts": {
            task: script_schemas(engine.registries.scripts, task) for task in sorted(tasks)
        },
    }
    return {**files, "page.json": json.dumps(page).encode()}


def _tab_schema(engine: Engine, tab: Tab) -> dict[str, Any] | None:
    """Return a tab's form; {} for a tab without one, None for one that names what is not there, which is reported."""
    if tab.form is None:
        return {}
    try:
        return {"title": tab.name, **_form_schema(engine, tab.form)}
    except (WebUIError, LookupError) as error:  # an extension's
        sentence = f"The form of the tab '{tab.name}' cannot be built. {error}"
        engine.registries.extension_errors.append(sentence)
        logger.warning("%s", sentence)
        return None


def _form_schema(engine: Engine, layout: FormLayout) -> dict[str, Any]:
    request_type = engine.registries.request_class(layout.task)
    return form_schema(layout, request_type, type(engine.settings))


def page_address(files: Mapping[str, bytes]) -> str:
    """Return the path under which the files are served; it changes with their content, so that browsers may keep them."""
    contents = hashlib.sha256()
    for name, content in sorted(files.items()):
        contents.update(name.encode() + content)
    return f"/webui/{contents.hexdigest()[:16]}"


def head(files: Mapping[str, bytes], theme_mode: str | None, root_path: str = "") -> str:
    """Return the content of the page's head: styles, scripts and their variables.

    Args:
        files: What the page is made of; see `page_files`.
        theme_mode: "light" or "dark" if set on the command line.
        root_path: The path under which a reverse proxy serves the page, without a trailing slash.
    """
    assets = root_path + page_address(files)
    variables = {
        "webuiColours": theme_mode,
        "webuiRoot": root_path,
        "webuiAssets": assets,
    }
    values = "".join(f"window.{name} = {json.dumps(value)};" for name, value in variables.items())
    styles = sorted(name for name in files if name.endswith(".css"))
    links = [f'<link rel="stylesheet" href="{assets}/{name}">' for name in styles]
    return f"<script>{values}\n{_LOAD_SCRIPT}</script>" + "".join(links)
