"""The bar above the tabs: checkpoint, VAE, clip skip, what the network predicts, and a .ckpt's way to .safetensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.events import Dependency

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.param import params_of
from modules.params.settings import Settings
from modules.plan.effective_settings import clip_skip_has_effect
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

# What the page offers for what a network predicts; "" leaves it to the .yaml or the network itself.
PREDICTION_CHOICES = [("Automatic", ""), ("noise (epsilon)", "epsilon"), ("v", "v_prediction")]


def build_checkpoint_bar(engine: Engine, page: gr.Blocks) -> list[Dependency]:
    """Make the bar where the page stands and return the events after which another model may be chosen."""
    with gr.Row(elem_id="checkpoint_bar"):
        checkpoint = gr.Dropdown(
            label="Stable Diffusion checkpoint",
            choices=_checkpoints(engine),
            value=_current(engine),
            elem_id="setting_sd_model_checkpoint",
            scale=3,
            min_width=240,
        )
        refresh = gr.Button(
            "↻", elem_id="refresh_checkpoints", elem_classes="tool", min_width=44, scale=0
        )
        vae = gr.Dropdown(
            label="SD VAE",
            choices=engine.choices("vaes"),
            value=engine.settings.sd_vae,
            elem_id="setting_sd_vae",
            min_width=140,
        )
        clip_skip = build_clip_skip(engine)
        prediction = gr.Dropdown(
            label="Predicts",
            choices=PREDICTION_CHOICES,
            value="",
            visible=False,
            elem_id="setting_prediction",
            min_width=120,
        )
        convert = gr.Button(
            "Convert to .safetensors",
            visible=False,
            elem_id="convert_checkpoint",
            min_width=120,
            scale=0,
        )
        gr.HTML('<div class="state" role="status"></div>', elem_id="engine_state", padding=False)
    message = gr.HTML("", elem_id="checkpoint_message", padding=False)
    gr.HTML('<div class="banner" hidden></div>', elem_id="banner", padding=False)
    outputs = [checkpoint, vae, clip_skip, prediction, convert]

    def shown() -> tuple[gr.Dropdown, gr.Dropdown, gr.Slider, gr.Dropdown, gr.Button]:
        """Return the bar as the engine now has it."""
        return (
            gr.Dropdown(choices=_checkpoints(engine), value=_current(engine)),
            gr.Dropdown(choices=engine.choices("vaes"), value=engine.settings.sd_vae),
            clip_skip_update(engine),
            _prediction(engine),
            gr.Button(visible=engine.active_checkpoint.can_convert()),
        )

    def tried(work: Callable[..., str]) -> Callable[..., tuple[Any, ...]]:
        """Return a handler that does the work and answers with its words and the whole bar."""

        def handler(*values: Any) -> tuple[Any, ...]:
            try:
                said = work(*values)
            except WebUIError as error:
                return (notice("error", str(error)), *shown())
            return (notice("note", said) if said else "", *shown())

        return handler

    def select(name: str) -> str:
        engine.select_checkpoint(name)
        return ""

    def select_vae(name: str) -> str:
        engine.change_settings({"sd_vae": name})
        return ""

    def select_prediction(value: str) -> str:
        engine.set_prediction_type(value)
        return ""

    def rescan() -> str:
        engine.models.refresh()
        engine.models.start_hashing()
        return ""

    def make_safetensors() -> str:
        return f"Written: {engine.convert_checkpoint().name}. The .ckpt is still there."

    said = [message, *outputs]
    vae.input(tried(select_vae), vae, said, **PRIVATE_EVENT)
    connect_clip_skip(engine, clip_skip, message)
    refresh.click(tried(rescan), outputs=said, **PRIVATE_EVENT)
    convert.click(
        tried(make_safetensors), outputs=said, show_progress="full", api_visibility="private"
    )
    page.load(shown, outputs=outputs, **PRIVATE_EVENT)
    return [
        checkpoint.input(tried(select), checkpoint, said, **PRIVATE_EVENT),
        prediction.input(tried(select_prediction), prediction, said, **PRIVATE_EVENT),
    ]


def _prediction(engine: Engine) -> gr.Dropdown:
    """Return the list with the choice for the chosen checkpoint; hidden where there is nothing to choose."""
    name = _current(engine) or ""
    value = engine.settings.sd_predictions.get(name, "")
    return gr.Dropdown(
        value=value, visible=bool(value) or engine.active_checkpoint.is_prediction_unknown()
    )


def _checkpoints(engine: Engine) -> list[tuple[str, str]]:
    """Return title and name of every checkpoint; one that cannot be used carries its fault as a badge."""
    return [
        (f"⚠ {found.name}: {found.error}" if found.error else found.title, found.name)
        for found in engine.models.checkpoints()
    ]


def _current(engine: Engine) -> str | None:
    try:
        return engine.find_checkpoint().name
    except WebUIError:
        return None


CLIP_SKIP_OPTION = "CLIP_stop_at_last_layers"


def build_clip_skip(engine: Engine) -> gr.Slider:
    """Make the slider where the page stands."""
    declared = params_of(Settings)[CLIP_SKIP_OPTION]
    assert declared.slider is not None
    low, high, step = declared.slider
    return gr.Slider(
        low,
        high,
        value=engine.settings.CLIP_stop_at_last_layers,
        step=step,
        label=declared.label,
        elem_id=f"setting_{CLIP_SKIP_OPTION}",
        min_width=140,
        buttons=[],  # a reset would go to what the option was when the server started, and tell nobody
    )


def connect_clip_skip(engine: Engine, slider: gr.Slider, message: gr.HTML) -> None:
    """Have the slider change the option; what is wrong with it is told in the message."""

    def select(value: float) -> str:
        try:
            engine.change_settings({CLIP_SKIP_OPTION: int(value)})
        except WebUIError as error:
            return notice("error", str(error))
        return ""

    slider.input(
        select,
        slider,
        message,
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )


def clip_skip_update(engine: Engine) -> gr.Slider:
    """Return the slider as the engine has it; hidden where it has no effect on the chosen checkpoint."""
    try:
        has_effect = clip_skip_has_effect(engine.find_checkpoint())
    except WebUIError:
        has_effect = False
    return gr.Slider(value=engine.settings.CLIP_stop_at_last_layers, visible=has_effect)
