from __future__ import annotations

import pytest

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.page.override_chips import format_overrides, parse_overrides
from modules.engine.page.requests import make_page_request

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
    values = {"sd_model_checkpoint": "first.safetensors", "sd_vae": "Automatic"}
    assert format_overrides(engine, values, {}) == []


def test_a_request_has_the_chips_of_its_form_as_override_settings(engine: Engine):
    values = {
        "prompt": "a cat",
        "override_settings": {"img2img_fix_steps": True},
        "chips": ["Clip skip: 2", "Checkpoint: second"],
    }
    request = make_page_request(engine, "txt2img", values)
    assert (request.prompt, request.sd_model_checkpoint) == ("a cat", "second")
    assert request.override_settings == {"img2img_fix_steps": True, "CLIP_stop_at_last_layers": 2}


def test_a_chip_with_an_unknown_setting_is_an_error():
    with pytest.raises(WebUIError, match="There is no option 'Nonsense'"):
        parse_overrides(["Nonsense: 1"])
