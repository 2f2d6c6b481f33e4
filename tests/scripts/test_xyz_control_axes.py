"""The axes of ControlNet units in an X/Y/Z plot, named as in sd-webui-controlnet."""

from __future__ import annotations

import pytest

from modules.core.errors import UserError
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.xyz_plot.axes import axes_of, find_axis

ON = ControlUnit(enabled=True, model="a")
REQUEST = Txt2ImgRequest(control_units=(ControlUnit(), ON, ON))


def change(name: str, text: str) -> list[ControlUnit]:
    axis = find_axis(Txt2ImgRequest, name)
    values = axis.read(text)
    return list(axis.change(REQUEST, values, values[0]).control_units)


def test_there_is_an_axis_for_every_field_that_changes_a_picture():
    names = [axis.name for axis in axes_of(Txt2ImgRequest).values()]
    assert [name for name in names if name.startswith("[ControlNet]")] == [
        "[ControlNet] Enabled",
        "[ControlNet] Preprocessor",
        "[ControlNet] Model",
        "[ControlNet] Weight",
        "[ControlNet] Guidance Start",
        "[ControlNet] Guidance End",
        "[ControlNet] Control Mode",
        "[ControlNet] Resize Mode",
        "[ControlNet] Pixel Perfect",
        "[ControlNet] Pre Resolution",
        "[ControlNet] Pre Threshold A",
        "[ControlNet] Pre Threshold B",
        "[ControlNet] Hr Option",
        "[ControlNet] Inpaint Crop Input Image",
        "[ControlNet] Union Control Type",
    ]


def test_a_value_changes_all_units_that_are_on():
    off, first, second = change("[ControlNet] Weight", "0.5-1.5 (+0.5)")
    assert (off.weight, first.weight, second.weight) == (1.0, 0.5, 0.5)
    assert change("[controlnet] resize mode", "Just Resize")[1].resize_mode == "Just Resize"
    assert change("[ControlNet] Pre Threshold A", "0.25")[2].threshold_a == 0.25
    assert change("[ControlNet] Pre Resolution", "768")[2].processor_res == 768


def test_enabled_changes_the_first_unit_alone():
    assert [unit.enabled for unit in change("[ControlNet] Enabled", "true")] == [True] * 3


def test_without_a_unit_that_is_on_an_axis_says_so():
    axis = find_axis(Txt2ImgRequest, "[ControlNet] Model")
    assert axis.choices == "control models"
    with pytest.raises(UserError, match="changes units that are on, and none is"):
        axis.change(Txt2ImgRequest(), ["a"], "a")
