from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.hires import describe_hires_size
from modules.ui.page import build_page

SIZES = {"width": 512, "height": 512, "hr_scale": 2.0, "hr_resize_x": 0, "hr_resize_y": 0}


def test_the_line_says_from_what_to_what():
    assert describe_hires_size(SIZES) == "from 512x512 to 1024x1024"
    assert describe_hires_size({**SIZES, "hr_resize_x": 768}) == "from 512x512 to 768x768"


def test_a_size_that_is_not_valid_says_nothing():
    assert describe_hires_size({**SIZES, "width": None}) == ""
    assert describe_hires_size({**SIZES, "hr_scale": 99}) == ""


def test_the_page_offers_every_field_of_the_second_pass_and_of_variations(engine: Engine):
    parts = {
        c["props"].get("elem_id"): c["props"]
        for c in build_page(engine).get_config_file()["components"]
    }
    upscalers = [choice[0] for choice in parts["txt2img_hr_upscaler"]["choices"]]
    assert upscalers == engine.upscalers.names()
    assert "from 512x512 to 1024x1024" in parts["txt2img_hires_size"]["value"]
    assert parts["txt2img_hr_sampler_name"]["choices"][0] == ("The same", "")
    for name in (
        "enable_hr",
        "hr_scale",
        "hr_resize_x",
        "hr_prompt",
        "subseed",
        "subseed_strength",
    ):
        assert f"txt2img_{name}" in parts
