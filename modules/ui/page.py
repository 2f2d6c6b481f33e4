"""The page: checkpoint bar above, tabs below."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.ui.form import Form
from modules.ui.memory import remember
from modules.ui.tabs import txt2img
from modules.ui.words import notice

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Tab:
    """One row of TABS: its title and the function that builds it."""

    title: str
    build: Callable[[Engine], Form]


TABS: tuple[Tab, ...] = (Tab("txt2img", txt2img.build),)


def build_page(engine: Engine) -> gr.Blocks:
    """Return the page; nothing is served yet."""
    gr.set_static_paths([engine.paths.outputs, engine.spare_outputs])  # shown by path, not by copy
    with gr.Blocks(
        title="Stable Diffusion WebUI", analytics_enabled=False, fill_width=True
    ) as page:
        _checkpoint_bar(engine, page)
        helps: dict[str, str] = {}
        with gr.Tabs():
            for tab in TABS:
                with gr.Tab(tab.title, id=tab.title, elem_id=f"tab_{tab.title}"):
                    form = tab.build(engine)
                    remember(form, page)
                    helps |= form.helps()
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


def head(colours: str | None) -> str:
    """Return what goes into the page's head: our script, and the colours if the command line chose them."""
    script = (ASSETS / "webui.js").read_text(encoding="utf-8")
    return f"<script>window.webuiColours = {json.dumps(colours)};\n{script}</script>"


def _checkpoint_bar(engine: Engine, page: gr.Blocks) -> None:
    with gr.Row(elem_id="checkpoint_bar"):
        chosen = gr.Dropdown(
            label="Stable Diffusion checkpoint",
            choices=_choices(engine),
            value=_current(engine),
            elem_id="setting_sd_model_checkpoint",
            scale=3,
            min_width=240,
        )
        refresh = gr.Button(
            "↻", elem_id="refresh_checkpoints", elem_classes="tool", min_width=44, scale=0
        )
        gr.HTML('<div class="state" role="status"></div>', elem_id="engine_state", padding=False)
    message = gr.HTML("", elem_id="checkpoint_message", padding=False)
    gr.HTML('<div class="banner" hidden></div>', elem_id="banner", padding=False)

    def select(name: str) -> tuple[str, gr.Dropdown]:
        try:
            engine.select_checkpoint(name)
        except WebUIError as error:
            return notice("error", str(error)), gr.Dropdown(value=_current(engine))
        return "", gr.skip()

    def rescan() -> gr.Dropdown:
        engine.models.refresh()
        engine.models.start_hashing()
        return gr.Dropdown(choices=_choices(engine), value=_current(engine))

    chosen.input(
        select, chosen, [message, chosen], show_progress="hidden", api_visibility="private"
    )
    refresh.click(rescan, outputs=chosen, show_progress="hidden", api_visibility="private")
    page.load(
        lambda: gr.Dropdown(choices=_choices(engine), value=_current(engine)),
        outputs=chosen,
        show_progress="hidden",
        api_visibility="private",
    )


def _choices(engine: Engine) -> list[tuple[str, str]]:
    """Return title and name of every checkpoint; one that cannot be used carries its fault as a badge."""
    return [
        (f"⚠ {found.name}: {found.fault}" if found.fault else found.title, found.name)
        for found in engine.models.checkpoints()
    ]


def _current(engine: Engine) -> str | None:
    try:
        return engine.checkpoint().name
    except WebUIError:
        return None
