from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from modules.core.errors import NotFound, Unsupported, UserError
from modules.engine.extras import upscale
from modules.models.index import ModelIndex
from modules.models.upscaler_list import UpscalerList
from modules.models.upscalers import UPSCALERS
from modules.params.image import ImageField
from modules.params.requests.extras import ExtrasRequest
from modules.params.settings import Settings
from tests.engine.fake_executor import draw_enlarged

NO_FILES = ModelIndex({}, Path(), Path("none"))
RED = Image.new("RGB", (32, 16), "red")


def upscaled(image: Image.Image, request: ExtrasRequest) -> tuple[Image.Image, str]:
    upscalers = UpscalerList(UPSCALERS, NO_FILES)
    return upscale(ImageField.from_pil(image), request, upscalers, Settings(), draw_enlarged)


@pytest.mark.parametrize(
    ("fields", "size", "text"),
    [
        ({}, (32, 16), ""),
        (
            {"upscaler_1": "Lanczos"},
            (64, 32),
            "Postprocess upscale by: 2, Postprocess upscaler: Lanczos",
        ),
        (
            {"upscaler_1": "lanczos", "upscaling_resize": 1.5},
            (48, 24),
            "Postprocess upscale by: 1.5",
        ),
        (
            {
                "upscaler_1": "Nearest",
                "resize_mode": 1,
                "upscaling_resize_w": 16,
                "upscaling_resize_h": 16,
            },
            (16, 16),
            "Postprocess upscale to: 16x16, Postprocess upscaler: Nearest, Postprocess crop to: 16x16",
        ),
        (
            {
                "upscaler_1": "Nearest",
                "resize_mode": 1,
                "upscaling_resize_w": 16,
                "upscaling_resize_h": 16,
                "upscaling_crop": False,
            },
            (32, 16),
            "Postprocess upscale to: 16x16",
        ),
    ],
)
def test_an_image_is_upscaled_to_the_requested_size(fields: dict, size: tuple[int, int], text: str):
    image, infotext = upscaled(RED, ExtrasRequest(**fields))
    assert image.size == size
    assert infotext.startswith(text)


def test_a_second_upscaler_is_mixed_in():
    edge = Image.new("RGB", (2, 2))
    edge.paste("white", (1, 0, 2, 2))

    def row(**fields: object) -> list[int]:
        request = ExtrasRequest(upscaling_resize=4, upscaler_1="Lanczos", **fields)
        image, _ = upscaled(edge, request)
        return [image.getpixel((x, 0))[0] for x in range(8)]  # pyright: ignore

    smooth = row()
    sharp = row(upscaler_2="Nearest", extras_upscaler_2_visibility=1)
    mixed = row(upscaler_2="Nearest", extras_upscaler_2_visibility=0.5)
    assert sharp == [0] * 4 + [255] * 4
    assert smooth != sharp
    assert all(
        min(a, b) - 1 <= c <= max(a, b) + 1 for a, b, c in zip(smooth, sharp, mixed, strict=True)
    )


def test_invalid_requests_are_refused_with_the_reason():
    with pytest.raises(NotFound, match="'Lanczo'"):
        upscaled(RED, ExtrasRequest(upscaler_1="Lanczo"))
    with pytest.raises(Unsupported, match="latents"):
        upscaled(RED, ExtrasRequest(upscaler_1="Latent"))
    with pytest.raises(Unsupported, match="face restorer"):
        upscaled(RED, ExtrasRequest(gfpgan_visibility=0.5))
    long = Image.new("L", (1, 8192)).convert("RGB")
    with pytest.raises(UserError, match="pixels"):
        upscaled(long, ExtrasRequest(upscaler_1="Nearest", resize_mode=1, upscaling_resize_w=8192))
