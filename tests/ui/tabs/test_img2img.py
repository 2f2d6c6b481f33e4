from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.ui.tabs import img2img

BLUE = Image.new("RGB", (32, 24), "blue")


def finished(picture: Image.Image | None, strokes: str) -> dict[str, object]:
    data = io.BytesIO()
    if picture is not None:
        picture.save(data, format="PNG")
    values = {
        "init_image": data.getvalue() or None,
        "init_image_strokes": strokes,
        "scale_by": 1,
        "steps": 3,
    }
    return img2img._finish(values)


def test_a_sketch_is_painted_on_the_picture():
    sketch = {"size": [32, 24], "strokes": [{"radius": 4, "points": [16, 12], "colour": "#ff0000"}]}
    values = finished(BLUE, json.dumps(sketch))
    picture = values["init_image"]
    assert isinstance(picture, ImageField)
    assert picture.to_pil().getpixel((16, 12)) == (255, 0, 0)
    assert picture.to_pil().getpixel((1, 1)) == (0, 0, 255)


def test_without_a_sketch_the_picture_is_the_uploads():
    assert finished(BLUE, "")["init_image"] == ImageField.from_pil(BLUE)


def test_a_missing_picture_is_said():
    with pytest.raises(UserError, match=r"no picture to repaint\. Put one in, or use txt2img\."):
        finished(None, "")
