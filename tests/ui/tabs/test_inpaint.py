from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.images.inpaint.mask_sources import BRUSH, FILE, TRANSPARENCY
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import validate
from modules.params.requests.img2img import Img2ImgRequest
from modules.ui.tabs import inpaint

DOT = json.dumps({"size": [32, 24], "strokes": [{"radius": 4, "points": [16, 12]}]})


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def make_request(**values: Any) -> Img2ImgRequest:
    raw = {
        **Img2ImgRequest().model_dump(exclude={"override_settings"}),
        "init_image": png(Image.new("RGB", (32, 24), "blue")),
        "init_image_strokes": "",
        "mask_source": BRUSH,
        "scale_by": 1,
        **values,
    }
    fields = Img2ImgRequest.model_fields
    request_values = {
        name: value for name, value in inpaint.to_request_values(raw).items() if name in fields
    }
    return validate(Img2ImgRequest, request_values)


def test_strokes_become_a_mask_of_the_init_images_size():
    request = make_request(init_image_strokes=DOT)
    assert request.mask is not None
    mask = request.mask.to_pil()
    assert (mask.mode, mask.size, mask.getbbox()) == ("L", (32, 24), (12, 8, 21, 17))
    assert request.task == "inpaint"


def test_an_uploaded_mask_is_used_instead_of_the_strokes():
    uploaded = Image.linear_gradient("L")
    request = make_request(mask=png(uploaded), mask_source=FILE, init_image_strokes=DOT)
    assert request.mask == ImageField.from_pil(uploaded, MASK)


def test_an_uploaded_brush_layer_stays_soft_where_masks_are_not_rounded():
    layer = Image.new("RGBA", (32, 24), (0, 0, 0, 90))
    request = make_request(mask=png(layer), mask_source=FILE, mask_round=False)
    assert request.mask is not None and request.mask.to_pil().getextrema() == (90, 90)


def test_transparent_pixels_are_masked():
    image = Image.new("RGBA", (32, 24), (0, 0, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 24))
    request = make_request(init_image=png(image), mask_source=TRANSPARENCY)
    assert request.mask is not None
    assert request.mask.to_pil().getbbox() == (0, 0, 16, 24)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mask_source": FILE, "mask": png(Image.new("L", (32, 24)))},
        {
            "mask_source": FILE,
            "mask": png(Image.new("L", (32, 24), 255)),
            "inpainting_mask_invert": True,
        },
    ],
    ids=["no strokes", "a black mask", "an inverted white mask"],
)
def test_an_empty_mask_is_an_error(engine: Engine, values: dict[str, Any]):
    with pytest.raises(UserError, match="The mask is empty: nothing would be repainted"):
        engine.submit(make_request(**values))


def test_outpainting_needs_no_mask():
    assert make_request(outpaint_left=64).outpaint_left == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init_image": None}, "There is no picture to repaint"),
        ({"mask_source": FILE}, "There is no file with a mask"),
        ({"mask_source": TRANSPARENCY}, "Nothing in the picture is transparent"),
        ({"mask_source": "else"}, "The mask's source is 'else'"),
        ({"init_image": b"nonsense"}, "The picture"),
        ({"init_image_strokes": "nonsense"}, "The brush strokes cannot be read"),
    ],
)
def test_missing_or_invalid_values_are_an_error(values: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        make_request(**values)
