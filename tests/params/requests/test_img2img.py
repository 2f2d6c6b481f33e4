from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest

LAYER = Image.new("RGBA", (2, 1), (0, 0, 0, 90))
LAYER.putpixel((1, 0), (0, 0, 0, 200))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({}, [0, 255]),
        ({"mask_round": False}, [90, 200]),
        ({"soft_inpainting_enabled": True}, [90, 200]),
    ],
)
def test_a_brush_layer_is_rounded_where_masks_are(fields: dict[str, Any], values: list[int]):
    request = Img2ImgRequest(mask=png(LAYER), **fields)
    assert request.mask is not None and request.mask.pixels == bytes(values)
    stored = Img2ImgRequest.model_validate_json(request.model_dump_json())
    assert stored.mask == request.mask
    grey = Img2ImgRequest(mask=png(Image.new("L", (1, 1), 90)), **fields)
    assert grey.mask == ImageField((1, 1), bytes([90]), "L")


@pytest.mark.parametrize("fields", [{}, {"mask_round": False}])
def test_a_damaged_mask_is_an_error_of_its_field(fields: dict[str, Any]):
    with pytest.raises(ValidationError) as raised:
        Img2ImgRequest(mask="nothing like an image", **fields)
    assert [error["loc"] for error in raised.value.errors()] == [("mask",)]
