"""ControlNet units in infotexts: the text of sd-webui-controlnet, and the spellings of all its versions."""

from __future__ import annotations

import time
from typing import Any

import pytest

from modules.infotext import create_infotext, parse_infotext
from modules.infotext.control_units import read_units
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.control_unit import read_units as validate_units
from modules.params.requests.txt2img import Txt2ImgRequest

CANNY = ControlUnit(enabled=True, module="canny", model="control_v11p_sd15_canny [d14c016b]")
TEXT = (
    'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, Resize Mode: Crop and Resize, '
    "Processor Res: 512, Threshold A: 100, Threshold B: 200, Guidance Start: 0, Guidance End: 1, Pixel Perfect: False, "
    'Control Mode: Balanced"'
)


def write(*units: ControlUnit) -> str:
    return create_infotext(Txt2ImgRequest(control_units=units), {})


def read(pairs: str) -> list[ControlUnit]:
    text = f"a\nSteps: 5, Sampler: Euler, Seed: 1, {pairs}, Version: v1.6.0"
    return list(validate_units(read_units(parse_infotext(text).pairs)["control_units"]))


def test_a_unit_is_written_as_sd_webui_controlnet_does():
    assert write(CANNY).endswith(TEXT)


def test_only_units_that_are_on_are_written_by_their_numbers_and_other_values_where_they_differ():
    text = write(
        ControlUnit(model="off"),
        CANNY.replace(hr_option="Low res only", advanced_weighting=(1, 0.5), module="none"),
    )
    assert 'ControlNet 1: "Module: none, Model: control' in text and "ControlNet 0" not in text
    assert "Processor Res" not in text and "Threshold" not in text
    assert text.endswith('Hr Option: Low res only, Advanced Weighting: [1; 0.5]"')


@pytest.mark.parametrize(
    "unit",
    [
        CANNY.replace(processor_res=512, threshold_a=100, threshold_b=200),
        ControlUnit(
            enabled=True,
            module="depth_midas",
            model="a",
            weight=0.35,
            guidance_start=0.1,
            guidance_end=0.8,
            control_mode="ControlNet is more important",
            resize_mode="Just Resize",
            pixel_perfect=True,
            processor_res=640,
            hr_option="High res only",
            inpaint_crop_input_image=False,
            union_control_type="Soft Edge",
            advanced_weighting=(0.0, 1.0, 0.5),
        ),
    ],
)
def test_what_is_written_is_read_back(unit: ControlUnit):
    pairs = parse_infotext(write(ControlUnit(), unit)).pairs
    assert validate_units(read_units(pairs)["control_units"]) == (ControlUnit(), unit)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (  # May to August 2023
            'ControlNet 0: "preprocessor: canny, model: control_v11p_sd15_canny [d14c016b], weight: 1, starting/ending: (0, 0.8), '
            "resize mode: Scale to Fit (Inner Fit), pixel perfect: True, control mode: Balanced, "
            'preprocessor params: (512, 100, 200)"',
            {"module": "canny", "guidance_end": 0.8, "resize_mode": "Crop and Resize", "pixel_perfect": True}
            | {"processor_res": 512, "threshold_a": 100, "threshold_b": 200},
        ),
        (  # March 2023
            "ControlNet-0 Enabled: True, ControlNet-0 Module: depth, ControlNet-0 Model: x [1234abcd], ControlNet-0 Weight: 1.2, "
            "ControlNet-0 Guidance Start: 0, ControlNet-0 Guidance End: 0.9",
            {"module": "depth", "model": "x [1234abcd]", "weight": 1.2, "guidance_end": 0.9},
        ),
        (  # a single unit, February 2023
            "ControlNet Enabled: True, ControlNet Module: none, ControlNet Model: c [e3fe7712], ControlNet Weight: 1, "
            "ControlNet Guidance Strength: 0.5",
            {"model": "c [e3fe7712]", "guidance_end": 0.5},
        ),
        (  # Forge
            'ControlNet 0: "Module: depth_midas, Model: x, Resize Mode: ResizeMode.OUTER_FIT, Low Vram: False, '
            "Control Mode: ControlMode.PROMPT, Hr Option: HiResFixOption.LOW_RES_ONLY, Input Mode: simple, "
            'Advanced Weighting: None, Threshold A: -1"',
            {"resize_mode": "Resize and Fill", "control_mode": "My prompt is more important"}
            | {"hr_option": "Low res only", "threshold_a": -1},
        ),
    ],
)  # fmt: skip
def test_other_spellings_are_read(pairs: str, expected: dict[str, Any]):
    (unit,) = read(pairs)
    assert unit.enabled and {name: getattr(unit, name) for name in expected} == expected


def test_units_that_are_off_or_between_others_are_off():
    first, second = read(
        'ControlNet-0 Enabled: False, ControlNet-0 Model: a, ControlNet 1: "Module: canny"'
    )
    assert (first, second.enabled) == (ControlUnit(), True)
    assert read("Clip skip: 2") == []


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="a unit has 'much' where a number is needed"):
        read('ControlNet 0: "Module: canny, Weight: much"')


@pytest.mark.parametrize("text", ["a" * 200_000, "a:(" * 100_000, " :" * 100_000, "a: [" * 50_000])
def test_a_long_text_is_read_in_the_time_of_its_length(text: str):
    start = time.process_time()
    read_units({"ControlNet 0": text})
    assert time.process_time() - start < 5
