from __future__ import annotations

import pytest

from modules.core.errors import WebUIError
from modules.infotext.options import format_setting, parse_setting
from modules.params.param import params_of
from modules.params.settings import Settings


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CLIP_stop_at_last_layers", 2, "Clip skip: 2"),
        ("eta_ancestral", 1.0, "Eta: 1"),
        ("randn_source", "CPU", "RNG: CPU"),
        ("tiling", True, "Tiling: True"),
        ("sd_noise_schedule", "Zero Terminal SNR", "Noise Schedule: Zero Terminal SNR"),
    ],
)
def test_an_option_is_written_as_a_pair_and_read_back(name: str, value: object, text: str):
    assert format_setting(name, value) == text
    assert parse_setting(text) == (name, value)


def test_no_two_options_share_a_key():
    keys = [row.infotext or row.label for row in params_of(Settings).values()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Clip skop: 2", "There is no option 'Clip skop'. Did you mean 'Clip skip'"),
        ("Clip skip", "Clip skip is ''; a number is needed."),
        ("Clip skip: 13", "Clip skip is 13; the largest valid value is 12."),
    ],
)
def test_an_invalid_option_is_reported(text: str, sentence: str):
    with pytest.raises(WebUIError) as caught:
        parse_setting(text)
    assert str(caught.value).startswith(sentence)
