from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.hires import describe_hires_size
from modules.ui.page import build_page

SIZES = {"width": 512, "height": 512, "hr_scale": 2.0, "hr_resize_x": 0, "hr_resize_y": 0}


def test_the_line_shows_both_sizes():
    assert describe_hires_size(SIZES) == "from 512x512 to 1024x1024"
    assert describe_hires_size({**SIZES, "hr_resize_x": 768}) == "from 512x512 to 768x768"


def test_the_line_is_empty_for_an_invalid_size():
    assert describe_hires_size({**SIZES, "width": None}) == ""
    assert describe_hires_size({**SIZES, "hr_scale": 99}) == ""


def test_the_page_has_every_field_of_the_hires_pass_and_of_variations(engine: Engine):
    props = {
        component["props"].get("elem_id"): component["props"]
        for component in build_page(engine).get_config_file()["components"]
    }
    upscalers = [choice[0] for choice in props["txt2img_hr_upscaler"]["choices"]]
    assert upscalers == engine.upscalers.names()
    assert "from 512x512 to 1024x1024" in props["txt2img_hires_size"]["value"]
    assert props["txt2img_hr_sampler_name"]["choices"][0] == ("The same", "")
    for name in (
        "enable_hr",
        "hr_scale",
        "hr_resize_x",
        "hr_prompt",
        "subseed",
        "subseed_strength",
    ):
        assert f"txt2img_{name}" in props
