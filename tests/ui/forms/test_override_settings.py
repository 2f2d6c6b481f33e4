from __future__ import annotations

import gradio as gr
import pytest

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.browser_state import restore_values
from modules.ui.forms.form import Form
from modules.ui.forms.override_settings import (
    OVERRIDE_SETTINGS,
    build_override_settings,
    format_overrides,
    parse_overrides,
)

VALUES = {"sd_model_checkpoint": "sub/second.safetensors", "sd_vae": "None", "steps": 3}


def test_values_that_differ_become_chips_and_are_parsed_back(engine: Engine):
    chips = format_overrides(engine, VALUES, {"CLIP_stop_at_last_layers": 2, "eta_ancestral": 0.5})
    assert chips == [
        "Checkpoint: sub/second.safetensors",
        "SD VAE: None",
        "Clip skip: 2",
        "Eta: 0.5",
    ]
    fields, settings = parse_overrides(chips)
    assert fields == {"sd_model_checkpoint": "sub/second.safetensors", "sd_vae": "None"}
    assert settings == {"CLIP_stop_at_last_layers": 2, "eta_ancestral": 0.5}


def test_current_values_become_no_chips(engine: Engine):
    assert (
        format_overrides(
            engine, {"sd_model_checkpoint": "first.safetensors", "sd_vae": "Automatic"}, {}
        )
        == []
    )


def test_a_form_reads_its_chips_as_override_settings_and_restores_them(engine: Engine):
    with gr.Blocks():
        form = Form(Txt2ImgRequest, engine, "txt2img")
        prompt, option = form.add_field("prompt"), form.add_override("img2img_fix_steps")
        form.extra_components[OVERRIDE_SETTINGS] = chips = build_override_settings("txt2img")
    values = form.read(
        {prompt: "a cat", option: True, chips: ["Clip skip: 2", "Checkpoint: second"]}
    )
    assert values == {
        "prompt": "a cat",
        "sd_model_checkpoint": "second",
        "override_settings": {"img2img_fix_steps": True, "CLIP_stop_at_last_layers": 2},
    }
    assert restore_values(form, {OVERRIDE_SETTINGS: ["Clip skip: 2"]})[-1] == ["Clip skip: 2"]


def test_a_chip_with_an_unknown_setting_is_an_error():
    with pytest.raises(WebUIError, match="There is no option 'Nonsense'"):
        parse_overrides(["Nonsense: 1"])
