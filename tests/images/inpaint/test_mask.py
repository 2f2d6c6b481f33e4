from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from modules.images.inpaint.mask import blur_mask, crop_region, cut_out, mask_from_alpha


def box_mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def fixed_point_taps(sigma: float) -> list[int]:
    """Return OpenCV's 8-bit Gaussian in A1111's size: in 256ths, each tap's rounding error carried on to the next."""
    radius = int(2.5 * sigma + 0.5)
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    side, error = [], 0.0
    for tap in 256 * taps[:radius] / taps.sum():
        side.append(round(tap + error))
        error += tap - side[-1]
    return [*side, 256 - 2 * sum(side), *reversed(side)]


def blur_in_fixed_point(values: np.ndarray, blur_x: float, blur_y: float) -> np.ndarray:
    """Return the blur by its definition: along x, then along y, each rounded half up to 8 bits."""
    for axis, sigma in ((1, blur_x), (0, blur_y)):
        taps = fixed_point_taps(sigma)
        padding = [(len(taps) // 2,) * 2 if index == axis else (0, 0) for index in (0, 1)]
        padded = np.pad(values.astype(int), padding, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=axis)
        values = (windows @ taps + 128) >> 8
    return values


def test_transparent_pixels_become_a_mask():
    image = Image.new("RGBA", (2, 1), (9, 9, 9, 255))
    assert mask_from_alpha(image) is None
    image.putpixel((1, 0), (9, 9, 9, 0))
    mask = mask_from_alpha(image)
    assert mask is not None
    assert mask.tobytes() == bytes([0, 255])
    assert mask_from_alpha(image.convert("RGB")) is None


@pytest.mark.parametrize(
    "mask",
    [
        box_mask((90, 70), (30, 20, 34, 60)),
        box_mask((90, 70), (0, 0, 45, 70)),
        box_mask((90, 70), (80, 60, 90, 70)),
        box_mask((90, 70), (3, 3, 88, 66)),
        box_mask((5, 7), (1, 1, 3, 3)),
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8)),
    ],
)
@pytest.mark.parametrize("blur", [(1, 1), (4, 4), (7, 3), (2, 33), (64, 20)])
def test_the_blur_is_opencvs_in_fixed_point_though_only_edges_are_computed(
    mask: Image.Image, blur: tuple[int, int]
):
    assert np.array_equal(
        np.asarray(blur_mask(mask, *blur)), blur_in_fixed_point(np.asarray(mask), *blur)
    )


def test_each_axis_has_its_own_blur():
    mask = box_mask((40, 40), (20, 20, 21, 40))
    assert np.ptp(np.asarray(blur_mask(mask, 3, 0))[30]) > 0
    assert np.asarray(blur_mask(mask, 0, 3))[:, 19].max() == 0
    assert blur_mask(mask, 0, 0).tobytes() == mask.tobytes()


def test_an_edge_blurred_by_4_has_the_levels_of_a1111():
    taps = [1, 2, 4, 5, 9, 11, 16, 19, 23, 25, 26, 25, 23, 19, 16, 11, 9, 5, 4, 2, 1]
    row = np.asarray(blur_mask(box_mask((60, 9), (30, 0, 60, 9)), 4, 0))[4]
    assert row[20:41].tolist() == [(255 * total + 128) >> 8 for total in np.cumsum(taps)]
    assert row[:20].max() == 0 and row[41:].min() == 255


def test_a_uniform_mask_is_unchanged():
    for value in (0, 77, 255):
        assert blur_mask(Image.new("L", (30, 30), value), 4, 4).getextrema() == (value, value)


def test_a_cut_out_is_premultiplied_and_black_where_nothing_is_left():
    mask = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    cut = np.asarray(cut_out(Image.new("RGB", mask.size, (255, 100, 0)), mask))[0].astype(int)
    kept = 255 - np.arange(256)
    assert np.array_equal(cut[:, 3], kept) and np.array_equal(cut[:, 0], kept)
    assert np.array_equal(cut[:, 1], np.rint(100 * kept / 255)) and cut[:, 2].max() == 0


@pytest.mark.parametrize(
    ("masked", "padding", "size", "box"),
    [
        ((100, 100, 150, 150), 0, (64, 64), (100, 100, 150, 150)),
        ((100, 100, 150, 150), 25, (64, 64), (75, 75, 175, 175)),
        ((100, 100, 200, 150), 0, (64, 64), (100, 75, 200, 175)),
        ((100, 100, 150, 200), 0, (128, 64), (25, 100, 225, 200)),
        ((0, 0, 100, 50), 0, (64, 64), (0, 0, 100, 100)),  # shifted inside
        ((380, 100, 400, 300), 0, (64, 64), (200, 100, 400, 300)),
        ((0, 0, 400, 10), 0, (64, 64), (0, 0, 400, 300)),  # the image is not tall enough
        ((0, 0, 400, 300), 99, (64, 64), (0, 0, 400, 300)),
        ((100, 100, 133, 110), 0, (704, 640), (100, 91, 133, 120)),  # 33 / 1.1 is just below 30
    ],
)
def test_the_crop_region_has_the_results_aspect_ratio(masked, padding, size, box):
    assert crop_region(box_mask((400, 300), masked), padding, *size) == box


def test_a_black_mask_has_no_crop_region():
    assert crop_region(Image.new("L", (40, 30)), 32, 64, 64) is None
