"""The Clip skip slider in the checkpoint bar: an option that needs nothing loaded anew."""

from __future__ import annotations

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.param import params_of
from modules.params.settings import Settings
from modules.plan.effective_settings import clip_skip_has_effect
from modules.ui.events import QUIET
from modules.ui.words import notice

OPTION = "CLIP_stop_at_last_layers"


def build_clip_skip(engine: Engine) -> gr.Slider:
    """Make the slider where the page stands."""
    declared = params_of(Settings)[OPTION]
    assert declared.slider is not None
    low, high, step = declared.slider
    return gr.Slider(
        low,
        high,
        value=engine.settings.CLIP_stop_at_last_layers,
        step=step,
        label=declared.label,
        elem_id=f"setting_{OPTION}",
        min_width=140,
        buttons=[],  # a reset would go to what the option was when the server started, and tell nobody
    )


def connect_clip_skip(engine: Engine, slider: gr.Slider, message: gr.HTML) -> None:
    """Have the slider change the option; what is wrong with it is told in the message."""

    def select(value: float) -> str:
        try:
            engine.change_settings({OPTION: int(value)})
        except WebUIError as error:
            return notice("error", str(error))
        return ""

    slider.input(
        select,
        slider,
        message,
        trigger_mode="always_last",
        **QUIET,
    )


def clip_skip_now(engine: Engine) -> gr.Slider:
    """Return the slider as the engine has it; hidden where it has no effect on the chosen checkpoint."""
    try:
        has_effect = clip_skip_has_effect(engine.find_checkpoint())
    except WebUIError:
        has_effect = False
    return gr.Slider(value=engine.settings.CLIP_stop_at_last_layers, visible=has_effect)
