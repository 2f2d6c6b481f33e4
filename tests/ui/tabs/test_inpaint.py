from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import validate
from modules.params.requests.img2img import Img2ImgRequest
from modules.ui.tabs import inpaint
from modules.ui.tabs.inpaint import BRUSH, FILE, TRANSPARENCY

DOT = json.dumps({"size": [32, 24], "strokes": [{"radius": 4, "points": [16, 12]}]})


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def finished(**values: Any) -> Img2ImgRequest:
    given = {
        **Img2ImgRequest().model_dump(exclude={"override_settings"}),
        "init_image": png(Image.new("RGB", (32, 24), "blue")),
        "init_image_strokes": "",
        "mask_source": BRUSH,
        "scale_by": 1,
        **values,
    }
    finished = {k: v for k, v in inpaint._finish(given).items() if k in Img2ImgRequest.model_fields}
    return validate(Img2ImgRequest, finished)


def test_strokes_become_a_mask_of_the_pictures_size():
    request = finished(init_image_strokes=DOT)
    assert request.mask is not None
    mask = request.mask.to_pil()
    assert (mask.mode, mask.size, mask.getbbox()) == ("L", (32, 24), (12, 8, 21, 17))
    assert request.task == "inpaint"


def test_an_uploaded_mask_stands_for_the_brush():
    uploaded = Image.linear_gradient("L")
    request = finished(mask=png(uploaded), mask_source=FILE, init_image_strokes=DOT)
    assert request.mask == ImageField.from_pil(uploaded, MASK)


def test_what_is_transparent_is_masked():
    picture = Image.new("RGBA", (32, 24), (0, 0, 255, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 24))
    request = finished(init_image=png(picture), mask_source=TRANSPARENCY)
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
    ids=["nothing painted", "a black mask", "a white mask, turned round"],
)
def test_an_empty_mask_is_a_question(engine: Engine, values: dict[str, Any]):
    with pytest.raises(UserError, match="The mask is empty: nothing would be repainted"):
        engine.submit(finished(**values))


def test_outpainting_needs_no_mask():
    assert finished(outpaint_left=64).outpaint_left == 64


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"init_image": None}, "There is no picture to repaint"),
        ({"mask_source": FILE}, "There is no file with a mask"),
        ({"mask_source": TRANSPARENCY}, "Nothing in the picture is transparent"),
        ({"mask_source": "else"}, "The mask's source is 'else'"),
        ({"init_image": b"nonsense"}, "The picture"),
        ({"init_image_strokes": "nonsense"}, "The brush strokes cannot be read"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(values: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        finished(**values)
