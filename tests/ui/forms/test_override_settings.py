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

WANTED = {"sd_model_checkpoint": "sub/second.safetensors", "sd_vae": "None", "steps": 3}


def test_what_is_wanted_and_not_so_already_becomes_a_chip_and_a_request_again(engine: Engine):
    chips = format_overrides(engine, WANTED, {"CLIP_stop_at_last_layers": 2, "eta_ancestral": 0.5})
    assert chips == [
        "Checkpoint: sub/second.safetensors",
        "SD VAE: None",
        "Clip skip: 2",
        "Eta: 0.5",
    ]
    fields, options = parse_overrides(chips)
    assert fields == {"sd_model_checkpoint": "sub/second.safetensors", "sd_vae": "None"}
    assert options == {"CLIP_stop_at_last_layers": 2, "eta_ancestral": 0.5}


def test_what_is_so_already_is_no_chip(engine: Engine):
    assert (
        format_overrides(
            engine, {"sd_model_checkpoint": "first.safetensors", "sd_vae": "Automatic"}, {}
        )
        == []
    )


def test_a_form_reads_its_chips_as_overrides_and_keeps_them(engine: Engine):
    with gr.Blocks():
        form = Form(Txt2ImgRequest, engine, "txt2img")
        prompt, option = form.add_field("prompt"), form.add_override("img2img_fix_steps")
        form.extra_components[OVERRIDE_SETTINGS] = chips = build_override_settings("txt2img")
    read = form.read({prompt: "a cat", option: True, chips: ["Clip skip: 2", "Checkpoint: second"]})
    assert read == {
        "prompt": "a cat",
        "sd_model_checkpoint": "second",
        "override_settings": {"img2img_fix_steps": True, "CLIP_stop_at_last_layers": 2},
    }
    assert restore_values(form, {OVERRIDE_SETTINGS: ["Clip skip: 2"]})[-1] == ["Clip skip: 2"]


def test_a_chip_that_stands_for_nothing_is_told():
    with pytest.raises(WebUIError, match="There is no option 'Nonsense'"):
        parse_overrides(["Nonsense: 1"])
