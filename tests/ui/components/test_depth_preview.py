from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.params.requests.depth import DepthRequest
from modules.ui.components.depth_preview import _depth, _estimate_of
from modules.ui.forms.form import Form
from modules.ui.tabs import depth


def handlers(engine: Engine) -> tuple[Form, dict[str, Any]]:
    """Return the tab's form and its two handlers by name."""
    with gr.Blocks() as blocks:
        form = depth.build(engine)
    found = {
        function.fn.__name__: function.fn
        for function in blocks.fns.values()
        if function.fn is not None
    }
    return form, {name: found[name] for name in ("ask", "show")}


def values_of(form: Form, **values: Any) -> dict[Any, Any]:
    names = ("init_image", "depth_map", "depth_contrast", "depth_near", "depth_far", "depth_invert")
    given = {**DepthRequest().model_dump(include=set(names)), **values}
    return {form.components[name]: given[name] for name in names}


@pytest.fixture
def ramp(tmp_path: Path) -> dict[str, str]:
    Image.linear_gradient("L").save(tmp_path / "ramp.png")
    return {"path": str(tmp_path / "ramp.png")}


def test_a_given_depth_map_is_shown_as_it_is_adjusted(engine: Engine, ramp: dict[str, str]):
    form, by_name = handlers(engine)
    plain, said = by_name["show"](values_of(form, depth_map=ramp))
    assert (said, plain.mode, plain.getpixel((0, 0)), plain.getpixel((0, 255))) == ("", "L", 0, 255)
    turned, _ = by_name["show"](values_of(form, depth_map=ramp, depth_invert=True))
    assert (turned.getpixel((0, 0)), turned.getpixel((0, 255))) == (255, 0)
    cut, _ = by_name["show"](values_of(form, depth_map=ramp, depth_near=0.5))
    assert cut.getpixel((0, 128)) == 255


def test_sixteen_bits_are_shown_in_eight(engine: Engine, tmp_path: Path):
    Image.linear_gradient("L").convert("I").point(lambda level: level * 257).convert("I;16").save(
        tmp_path / "deep.png"
    )
    form, by_name = handlers(engine)
    shown, _ = by_name["show"](values_of(form, depth_map={"path": str(tmp_path / "deep.png")}))
    assert (shown.mode, shown.getpixel((0, 100))) == ("L", 100)


def test_an_estimate_is_shown_for_its_own_picture_alone(tmp_path: Path):
    Image.new("L", (4, 4), 7).save(_estimate_of(tmp_path, "/one.png"))
    shown = _depth(tmp_path, {"path": "/one.png"}, None)
    assert shown is not None and shown.getpixel((0, 0)) == 7
    assert _depth(tmp_path, {"path": "/other.png"}, None) is None
    assert _depth(tmp_path, None, None) is None


def test_what_is_wrong_is_said(engine: Engine, tmp_path: Path, ramp: dict[str, str]):
    form, by_name = handlers(engine)
    assert "no picture whose depth could be estimated" in by_name["ask"](values_of(form))[1]
    (tmp_path / "text.png").write_text("no picture")
    shown, said = by_name["show"](values_of(form, depth_map={"path": str(tmp_path / "text.png")}))
    assert shown is None and "error" in said
    assert (
        "not larger than depth far"
        in by_name["show"](values_of(form, depth_map=ramp, depth_near=0.0))[1]
    )
