"""Requests of forms whose init image is painted on: sketches, masks, and both at once."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.page.requests import make_page_request
from modules.engine.page.uploads import make_upload_store
from modules.images.inpaint.mask_sources import FILE, TRANSPARENCY
from modules.params.image import ImageField
from modules.params.image_kinds import MASK

BLUE = Image.new("RGB", (32, 24), "blue")
RED_DOT = {"radius": 4, "points": [16, 12], "colour": "#ff0000"}
DOT = {"radius": 4, "points": [16, 12]}


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def painted(*strokes: dict[str, Any]) -> str:
    return json.dumps({"picture": "an id", "size": [32, 24], "strokes": strokes})


def make_request(engine: Engine, task: str, **values: Any) -> Any:
    """Return a request from a form with a blue init image; images among the values are uploaded."""
    uploads = make_upload_store(engine)
    ids = {
        name: uploads.add(png(value)).id if isinstance(value, Image.Image) else value
        for name, value in {"init_image": BLUE, **values}.items()
    }
    return make_page_request(engine, task, ids)


def test_a_sketch_is_painted_on_the_init_image(engine: Engine):
    request = make_request(engine, "img2img", init_image_strokes=painted(RED_DOT))
    init_image = request.init_image.to_pil()
    assert init_image.getpixel((16, 12)) == (255, 0, 0)
    assert init_image.getpixel((1, 1)) == (0, 0, 255)
    assert request.task == "img2img"


def test_without_strokes_the_upload_is_unchanged(engine: Engine):
    request = make_request(engine, "img2img", init_image_strokes="")
    assert request.init_image == ImageField.from_pil(BLUE)


def test_strokes_become_a_mask_of_the_init_images_size(engine: Engine):
    request = make_request(engine, "inpaint", init_image_strokes=painted(DOT))
    mask = request.mask.to_pil()
    assert (mask.mode, mask.size, mask.getbbox()) == ("L", (32, 24), (12, 8, 21, 17))
    assert request.init_image == ImageField.from_pil(BLUE)


def test_an_inpaint_sketch_changes_the_image_and_is_the_mask(engine: Engine):
    sketch = {"inpaint_sketch": True, "mask_blur": 0}
    request = make_request(engine, "inpaint", init_image_strokes=painted(RED_DOT), **sketch)
    pixels, mask = np.asarray(request.init_image.to_pil()), np.asarray(request.mask.to_pil())
    assert set(np.unique(mask)) == {0, 255}
    assert (pixels[mask == 255] == (255, 0, 0)).all()
    assert (pixels[mask == 0] == (0, 0, 255)).all()


def test_the_mask_blur_softens_an_inpaint_sketch_and_not_its_mask(engine: Engine):
    sketch = {"inpaint_sketch": True, "mask_blur": 2}
    request = make_request(engine, "inpaint", init_image_strokes=painted(RED_DOT), **sketch)
    red = np.asarray(request.init_image.to_pil())[12, :, 0].astype(int)
    assert 90 < red[16] < 255
    assert red[16] > red[13] > red[11] > red[9] and red[2] == 0
    assert request.mask.to_pil().getextrema() == (0, 255)
    assert request.mask_blur == 2


def test_transparency_shows_the_image_through_and_weakens_the_mask(engine: Engine):
    sketch = {"inpaint_sketch": True, "mask_blur": 0, "inpaint_sketch_transparency": 40}
    request = make_request(engine, "inpaint", init_image_strokes=painted(RED_DOT), **sketch)
    assert request.mask.to_pil().getextrema() == (0, 153)
    assert request.init_image.to_pil().getpixel((16, 12)) == (153, 0, 102)


def test_strokes_without_a_colour_only_mask(engine: Engine):
    plain = {"radius": 3, "points": [4, 4]}
    sketch = {"inpaint_sketch": True, "mask_blur": 0}
    request = make_request(engine, "inpaint", init_image_strokes=painted(RED_DOT, plain), **sketch)
    assert request.mask.to_pil().getpixel((4, 4)) == 255
    assert request.init_image.to_pil().getpixel((4, 4)) == (0, 0, 255)
    assert request.init_image.to_pil().getpixel((16, 12)) == (255, 0, 0)


def test_colours_do_not_count_while_the_sketch_is_off(engine: Engine):
    request = make_request(engine, "inpaint", init_image_strokes=painted(RED_DOT))
    assert request.init_image == ImageField.from_pil(BLUE)
    assert request.mask.to_pil().getbbox() == (12, 8, 21, 17)


def test_an_uploaded_mask_is_used_instead_of_the_strokes(engine: Engine):
    uploaded = Image.linear_gradient("L")
    values = {"mask": uploaded, "mask_source": FILE, "init_image_strokes": painted(DOT)}
    assert make_request(engine, "inpaint", **values).mask == ImageField.from_pil(uploaded, MASK)


def test_an_uploaded_brush_layer_stays_soft_where_masks_are_not_rounded(engine: Engine):
    layer = Image.new("RGBA", (32, 24), (0, 0, 0, 90))
    request = make_request(engine, "inpaint", mask=layer, mask_source=FILE, mask_round=False)
    assert request.mask.to_pil().getextrema() == (90, 90)


def test_transparent_pixels_are_masked(engine: Engine):
    image = Image.new("RGBA", (32, 24), (0, 0, 255, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 24))
    request = make_request(engine, "inpaint", init_image=image, mask_source=TRANSPARENCY)
    assert request.mask.to_pil().getbbox() == (0, 0, 16, 24)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mask_source": FILE, "mask": Image.new("L", (32, 24))},
        {
            "mask_source": FILE,
            "mask": Image.new("L", (32, 24), 255),
            "inpainting_mask_invert": True,
        },
    ],
    ids=["no strokes", "a black mask", "an inverted white mask"],
)
def test_an_empty_mask_is_an_error(engine: Engine, values: dict[str, Any]):
    with pytest.raises(UserError, match="The mask is empty: nothing would be repainted"):
        engine.submit(make_request(engine, "inpaint", **values))


def test_outpainting_needs_no_mask(engine: Engine):
    assert make_request(engine, "inpaint", outpaint_left=64).outpaint_left == 64


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("img2img", {"init_image": None}, r"no picture to repaint\. Upload one, or use txt2img\."),
        ("inpaint", {"init_image": None}, "There is no picture to repaint"),
        ("inpaint", {"mask_source": FILE}, "There is no file with a mask"),
        ("inpaint", {"mask_source": TRANSPARENCY}, "Nothing in the picture is transparent"),
        ("inpaint", {"mask_source": "else"}, "The mask's source is 'else'"),
        ("inpaint", {"init_image_strokes": "nonsense"}, "The brush strokes cannot be read"),
        ("inpaint", {"inpaint_sketch": True, "mask_blur": "soft"}, "Mask blur"),
        (
            "inpaint",
            {"inpaint_sketch": True, "inpaint_sketch_transparency": 101},
            "Mask transparency is 101. Use a number from 0 to 100.",
        ),
    ],
)
def test_missing_or_invalid_values_are_an_error(
    engine: Engine, task: str, values: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        make_request(engine, task, **values)


def test_an_image_that_is_gone_is_an_error(engine: Engine):
    with pytest.raises(NotFound, match=r"no longer on the server\. Upload it again\."):
        make_page_request(engine, "img2img", {"init_image": "0" * 64})
