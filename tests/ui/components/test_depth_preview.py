from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.params.requests.depth import DepthRequest
from modules.ui.components.depth_preview import ADJUSTMENTS, DepthPreview
from modules.ui.tabs import depth


@pytest.fixture
def preview(engine: Engine) -> DepthPreview:
    with gr.Blocks():
        return DepthPreview(engine, depth.build(engine))


def values_of(preview: DepthPreview, **values: Any) -> dict[Any, Any]:
    names = ("init_image", "depth_map", *ADJUSTMENTS)
    all_values = {**DepthRequest().model_dump(include=set(names)), **values}
    return {preview.form.components[name]: all_values[name] for name in names}


@pytest.fixture
def ramp(tmp_path: Path) -> dict[str, str]:
    Image.linear_gradient("L").save(tmp_path / "ramp.png")
    return {"path": str(tmp_path / "ramp.png")}


def test_an_uploaded_depth_map_is_shown_with_the_adjustments(
    preview: DepthPreview, ramp: dict[str, str]
):
    plain, message = preview.show(values_of(preview, depth_map=ramp))
    assert (message, plain.mode) == ("", "L")
    assert (plain.getpixel((0, 0)), plain.getpixel((0, 255))) == (0, 255)
    inverted, _ = preview.show(values_of(preview, depth_map=ramp, depth_invert=True))
    assert (inverted.getpixel((0, 0)), inverted.getpixel((0, 255))) == (255, 0)
    clipped, _ = preview.show(values_of(preview, depth_map=ramp, depth_near=0.5))
    assert clipped.getpixel((0, 128)) == 255


def test_a_16_bit_depth_map_is_shown_in_8_bits(preview: DepthPreview, tmp_path: Path):
    Image.linear_gradient("L").convert("I").point(lambda level: level * 257).convert("I;16").save(
        tmp_path / "deep.png"
    )
    image, _ = preview.show(values_of(preview, depth_map={"path": str(tmp_path / "deep.png")}))
    assert (image.mode, image.getpixel((0, 100))) == ("L", 100)


def test_an_estimate_is_shown_only_for_its_own_image(preview: DepthPreview):
    path = preview.estimate_path("/one.png")
    path.parent.mkdir(parents=True)
    Image.new("L", (4, 4), 7).save(path)
    depth_map = preview.read_depth({"path": "/one.png"}, None)
    assert depth_map is not None and depth_map.getpixel((0, 0)) == 7
    assert preview.read_depth({"path": "/other.png"}, None) is None
    assert preview.read_depth(None, None) is None


def test_errors_are_reported_in_the_message(
    preview: DepthPreview, tmp_path: Path, ramp: dict[str, str]
):
    _, message = preview.estimate(values_of(preview))
    assert "no picture whose depth could be estimated" in message
    (tmp_path / "text.png").write_text("no picture")
    image, message = preview.show(
        values_of(preview, depth_map={"path": str(tmp_path / "text.png")})
    )
    assert image is None and "error" in message
    _, message = preview.show(values_of(preview, depth_map=ramp, depth_near=0.0))
    assert "not larger than depth far" in message
