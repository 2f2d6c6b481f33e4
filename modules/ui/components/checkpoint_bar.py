"""The bar above the tabs: checkpoint, VAE, clip skip, prediction type, and conversion of a .ckpt to .safetensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.events import Dependency

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.models.kinds import VAE
from modules.models.scan import ModelFile
from modules.params.param import params_of
from modules.params.settings import Settings
from modules.plan.effects import clip_skip_has_effect
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice

# Labels and prediction types; "" leaves it to the .yaml or to a probe of the network.
PREDICTION_CHOICES = [("Automatic", ""), ("noise (epsilon)", "epsilon"), ("v", "v_prediction")]


def build_checkpoint_bar(engine: Engine, page: gr.Blocks) -> list[Dependency]:
    """Build the bar in the current Gradio context and return the events that may change the model."""
    with gr.Row(elem_id="checkpoint_bar"):
        checkpoint = gr.Dropdown(
            label="Stable Diffusion checkpoint",
            choices=_checkpoint_choices(engine),
            value=_checkpoint_name(engine),
            elem_id="setting_sd_model_checkpoint",
            scale=3,
            min_width=240,
        )
        refresh = gr.Button(
            "↻", elem_id="refresh_checkpoints", elem_classes="tool", min_width=44, scale=0
        )
        vae = gr.Dropdown(
            label="SD VAE",
            choices=_vae_choices(engine),
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

    def bar_updates() -> tuple[gr.Dropdown, gr.Dropdown, gr.Slider, gr.Dropdown, gr.Button]:
        """Return updates of the whole bar to the engine's current state."""
        return (
            gr.Dropdown(choices=_checkpoint_choices(engine), value=_checkpoint_name(engine)),
            gr.Dropdown(choices=_vae_choices(engine), value=engine.settings.sd_vae),
            clip_skip_update(engine),
            _prediction_update(engine),
            gr.Button(visible=engine.active_checkpoint.can_convert()),
        )

    def with_notice(action: Callable[..., str]) -> Callable[..., tuple[Any, ...]]:
        """Return an event handler that runs the action and returns its message as a notice, and the whole bar."""

        def handler(*values: Any) -> tuple[Any, ...]:
            try:
                text = action(*values)
            except WebUIError as error:
                return (notice("error", str(error)), *bar_updates())
            return (notice("note", text) if text else "", *bar_updates())

        return handler

    def select_checkpoint(name: str) -> str:
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

    def convert_checkpoint() -> str:
        return f"Written: {engine.convert_checkpoint().name}. The .ckpt file is kept."

    all_outputs = [message, *outputs]
    vae.input(with_notice(select_vae), vae, all_outputs, **PRIVATE_EVENT)
    connect_clip_skip(engine, clip_skip, message)
    refresh.click(with_notice(rescan), outputs=all_outputs, **PRIVATE_EVENT)
    convert.click(
        with_notice(convert_checkpoint),
        outputs=all_outputs,
        show_progress="full",
        api_visibility="private",
    )
    page.load(bar_updates, outputs=outputs, **PRIVATE_EVENT)
    return [
        checkpoint.input(with_notice(select_checkpoint), checkpoint, all_outputs, **PRIVATE_EVENT),
        prediction.input(with_notice(select_prediction), prediction, all_outputs, **PRIVATE_EVENT),
    ]


def _prediction_update(engine: Engine) -> gr.Dropdown:
    """Return the dropdown with the chosen checkpoint's prediction type; hidden if there is nothing to choose."""
    name = _checkpoint_name(engine) or ""
    value = engine.settings.sd_predictions.get(name, "")
    return gr.Dropdown(
        value=value, visible=bool(value) or engine.active_checkpoint.is_prediction_unknown()
    )


def _checkpoint_choices(engine: Engine) -> list[tuple[str, str]]:
    """Return label and name of every checkpoint; the label of an unusable or misnamed one says why."""
    return [
        (_label(checkpoint.title, checkpoint, checkpoint.error), checkpoint.name)
        for checkpoint in engine.models.checkpoints()
    ]


def _vae_choices(engine: Engine) -> list[tuple[str, str]]:
    """Return label and value of the options of the VAE setting."""
    labels = {vae.name: _label(vae.name, vae) for vae in engine.models.files(VAE)}
    return [(labels.get(name, name), name) for name in engine.choices("vaes")]


def _label(title: str, file: ModelFile, error: str = "") -> str:
    problem = error or file.name_warning
    return f"⚠ {file.name}: {problem}" if problem else title


def _checkpoint_name(engine: Engine) -> str | None:
    try:
        return engine.find_checkpoint().name
    except WebUIError:
        return None


CLIP_SKIP_OPTION = "CLIP_stop_at_last_layers"


def build_clip_skip(engine: Engine) -> gr.Slider:
    """Build the slider in the current Gradio context."""
    param = params_of(Settings)[CLIP_SKIP_OPTION]
    assert param.slider is not None
    low, high, step = param.slider
    return gr.Slider(
        low,
        high,
        value=engine.settings.CLIP_stop_at_last_layers,
        step=step,
        label=param.label,
        elem_id=f"setting_{CLIP_SKIP_OPTION}",
        min_width=140,
        # A reset would go to the option's value at the server's start, without an event.
        buttons=[],
    )


def connect_clip_skip(engine: Engine, slider: gr.Slider, message: gr.HTML) -> None:
    """Have the slider change the setting; the message shows an error."""

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
    """Return the slider with the current setting; hidden if it has no effect on the chosen checkpoint."""
    try:
        has_effect = clip_skip_has_effect(engine.find_checkpoint())
    except WebUIError:
        has_effect = False
    return gr.Slider(value=engine.settings.CLIP_stop_at_last_layers, visible=has_effect)
