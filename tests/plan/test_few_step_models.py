"""The notes on models that were distilled to a few steps."""

from __future__ import annotations

import pytest

from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.checkpoints.few_step_models import few_step_note

NAME = "dreamshaperXL_lightningDPMSDE"


def note(name: str, sampler: str = "Euler", schedule: str = "SGM Uniform", **values) -> str:
    request = Txt2ImgRequest(**{"steps": 4, "cfg_scale": 1.5, **values})
    return few_step_note(name, request, sampler, schedule)


def test_what_suits_is_said_with_all_that_does_not():
    assert note(NAME, schedule="Karras", cfg_scale=7) == (
        f"{NAME} seems to be a Lightning model: a CFG scale of 1 to 2 and the schedule type SGM Uniform suit it better."
    )
    assert note("sd_xl_turbo_1.0", steps=30) == (
        "sd_xl_turbo_1.0 seems to be a Turbo model: at most 10 steps suits it better."
    )
    assert "the sampler LCM" in note("dreamshaper_8LCM")
    assert "a Hyper-SD model" in note("realisticVision_v51HyperVAE", cfg_scale=7)
    assert "a Turbo model" in note("JuggernautXLTurbo", cfg_scale=7)


@pytest.mark.parametrize(
    "name",
    ["sd_xl_base_1.0", "HyperRealism", "hyperrealistic", "turbocharged", "ponyDiffusionV6XL"],
)
def test_other_names_get_no_note(name: str):
    assert note(name, schedule="Karras", cfg_scale=7, steps=30) == ""


def test_what_suits_gets_no_note():
    assert note(NAME) == ""
    assert note(NAME, schedule="Simple") == ""
    assert note("lcm-full", "LCM") == ""
    assert note("lcm-full", "LCM", "Uniform", steps=20) != ""
