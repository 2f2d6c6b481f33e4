from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.inpaint.mask import blur_mask, crop_region, gaussian_kernel, mask_from_alpha


def boxed(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def blurred_plainly(levels: np.ndarray, sigma: float) -> np.ndarray:
    """Return the definition: along x, then along y, each rounded to whole levels as OpenCV does."""
    reach = np.arange(-int(2.5 * sigma + 0.5), int(2.5 * sigma + 0.5) + 1)
    taps = np.exp(-(reach**2) / (2 * sigma**2))
    for axis in (1, 0):
        room = [(len(reach) // 2,) * 2 if one == axis else (0, 0) for one in (0, 1)]
        padded = np.pad(levels, room, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(reach), axis=axis)
        levels = np.rint(windows @ (taps / taps.sum()))
    return levels


def test_what_is_transparent_in_a_picture_can_be_its_mask():
    picture = Image.new("RGBA", (2, 1), (9, 9, 9, 255))
    assert mask_from_alpha(picture) is None
    picture.putpixel((1, 0), (9, 9, 9, 0))
    mask = mask_from_alpha(picture)
    assert mask is not None
    assert mask.tobytes() == bytes([0, 255])
    assert mask_from_alpha(picture.convert("RGB")) is None


@pytest.mark.parametrize(
    "mask",
    [
        boxed((90, 70), (30, 20, 34, 60)),
        boxed((90, 70), (0, 0, 45, 70)),
        boxed((90, 70), (80, 60, 90, 70)),
        boxed((90, 70), (3, 3, 88, 66)),
        boxed((5, 7), (1, 1, 3, 3)),
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8)),
    ],
)
@pytest.mark.parametrize("sigma", [1, 4])
def test_the_blur_is_opencvs_though_only_the_edges_are_computed(mask: Image.Image, sigma: int):
    assert np.array_equal(
        np.asarray(blur_mask(mask, sigma, sigma)), blurred_plainly(np.asarray(mask), sigma)
    )


def test_each_direction_has_its_own_blur():
    mask = boxed((40, 40), (20, 20, 21, 40))
    assert np.ptp(np.asarray(blur_mask(mask, 3, 0))[30]) > 0
    assert np.asarray(blur_mask(mask, 0, 3))[:, 19].max() == 0
    assert blur_mask(mask, 0, 0).tobytes() == mask.tobytes()


def test_the_taps_are_as_many_as_a1111_takes():
    assert [2 * len(gaussian_kernel(sigma)) - 1 for sigma in (1, 4, 10)] == [7, 21, 51]
    assert gaussian_kernel(4)[0] + 2 * gaussian_kernel(4)[1:].sum() == pytest.approx(1)


def test_an_even_mask_stays_even():
    for level in (0, 255):
        assert blur_mask(Image.new("L", (30, 30), level), 4, 4).getextrema() == (level, level)


@pytest.mark.parametrize(
    ("masked", "padding", "size", "box"),
    [
        ((100, 100, 150, 150), 0, (64, 64), (100, 100, 150, 150)),
        ((100, 100, 150, 150), 25, (64, 64), (75, 75, 175, 175)),
        ((100, 100, 200, 150), 0, (64, 64), (100, 75, 200, 175)),
        ((100, 100, 150, 200), 0, (128, 64), (25, 100, 225, 200)),
        ((0, 0, 100, 50), 0, (64, 64), (0, 0, 100, 100)),  # shifted inside
        ((380, 100, 400, 300), 0, (64, 64), (200, 100, 400, 300)),
        ((0, 0, 400, 10), 0, (64, 64), (0, 0, 400, 300)),  # the picture is not high enough
        ((0, 0, 400, 300), 99, (64, 64), (0, 0, 400, 300)),
    ],
)
def test_the_box_around_the_mask_takes_the_results_proportions(masked, padding, size, box):
    assert crop_region(boxed((400, 300), masked), padding, *size) == box


def test_a_black_mask_has_no_box():
    assert crop_region(Image.new("L", (40, 30)), 32, 64, 64) is None
