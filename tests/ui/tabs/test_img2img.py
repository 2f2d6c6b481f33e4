from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.ui.tabs import img2img

BLUE = Image.new("RGB", (32, 24), "blue")


def request_values(init_image: Image.Image | None, strokes: str) -> dict[str, object]:
    data = io.BytesIO()
    if init_image is not None:
        init_image.save(data, format="PNG")
    values = {
        "init_image": data.getvalue() or None,
        "init_image_strokes": strokes,
        "scale_by": 1,
        "steps": 3,
    }
    return img2img.to_request_values(values)


def test_a_sketch_is_painted_on_the_init_image():
    sketch = {"size": [32, 24], "strokes": [{"radius": 4, "points": [16, 12], "colour": "#ff0000"}]}
    values = request_values(BLUE, json.dumps(sketch))
    init_image = values["init_image"]
    assert isinstance(init_image, ImageField)
    assert init_image.to_pil().getpixel((16, 12)) == (255, 0, 0)
    assert init_image.to_pil().getpixel((1, 1)) == (0, 0, 255)


def test_without_a_sketch_the_upload_is_unchanged():
    assert request_values(BLUE, "")["init_image"] == ImageField.from_pil(BLUE)


def test_a_missing_init_image_is_an_error():
    with pytest.raises(UserError, match=r"no picture to repaint\. Upload one, or use txt2img\."):
        request_values(None, "")
