"""The sizes through which an image is upscaled, as A1111 takes them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from modules.images.upscale import enlarge_by_filter, upscale_to


@pytest.fixture
def image() -> Image.Image:
    draws = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return Image.fromarray(draws)


def resize_through(image: Image.Image, *steps: tuple[Resampling, int, int]) -> bytes:
    for resampling, width, height in steps:
        image = image.resize((width, height), resampling)
    return image.tobytes()


@pytest.mark.parametrize("filter_", [Resampling.LANCZOS, Resampling.NEAREST])
def test_an_upscaler_takes_the_multiples_of_8_below(image: Image.Image, filter_: Resampling):
    # 250 / 96 is the larger factor: 250 x 166.7 pixels, and the multiples of 8 below are 248 x 160.
    assert upscale_to(image, (250, 133), enlarge_by_filter(filter_)).tobytes() == resize_through(
        image,
        (filter_, 250, 166),
        (Resampling.LANCZOS, 248, 160),
        (Resampling.LANCZOS, 250, 133),
    )


def test_an_upscaler_reaches_multiples_of_8_at_once(image: Image.Image):
    assert upscale_to(
        image, (192, 128), enlarge_by_filter(Resampling.NEAREST)
    ).tobytes() == resize_through(image, (Resampling.NEAREST, 192, 128))


def test_no_upscaler_stretches_straight_to_the_size(image: Image.Image):
    assert upscale_to(image, (250, 133), None).tobytes() == resize_through(
        image, (Resampling.LANCZOS, 250, 133)
    )


@pytest.mark.parametrize("size", [(101, 67), (96, 64), (64, 40)])
def test_an_upscaler_leaves_an_image_that_has_the_multiples_of_8_already_to_lanczos(
    image: Image.Image, size: tuple[int, int]
):
    assert upscale_to(
        image, size, enlarge_by_filter(Resampling.NEAREST)
    ).tobytes() == resize_through(image, (Resampling.LANCZOS, *size))


def test_an_image_that_is_to_shrink_on_one_side_is_enlarged_by_the_other(image: Image.Image):
    assert upscale_to(
        image, (192, 64), enlarge_by_filter(Resampling.NEAREST)
    ).tobytes() == resize_through(
        image, (Resampling.NEAREST, 192, 128), (Resampling.LANCZOS, 192, 64)
    )
