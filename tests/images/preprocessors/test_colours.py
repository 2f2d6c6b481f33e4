"""Tests of control images with colours or brightness."""

import cv2
import numpy as np
import pytest

from modules.images.preprocessors.colours import (
    blur,
    keep,
    make_colour_grid,
    resample_tile,
    shuffle,
    shuffle_seed,
    take_intensity,
    take_luminance,
)
from modules.images.preprocessors.sizes import Pixels


def plain(colour: tuple[int, int, int], height: int = 4, width: int = 4) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def test_a_tile_is_averaged_by_its_rate_and_kept_below_a_tenth():
    image = np.array([[0, 100], [200, 20]], np.uint8).repeat(2, 0)[:, :, None].repeat(3, 2)
    assert resample_tile(image, 512, 2.0)[:, :, 0].tolist() == [[50], [110]]
    assert resample_tile(image, 512, 1.05) is image
    assert keep(image, 512) is image


def test_luminance_is_the_lightness_of_the_colour_with_red_and_blue_exchanged():
    # L* of pure blue is 32.3 of 100, of pure red 53.2 (CIE).
    assert take_luminance(plain((255, 0, 0)), 512, 1.0)[0, 0, 0] == pytest.approx(82, abs=1)
    assert take_luminance(plain((0, 0, 255)), 512, 1.0)[0, 0, 0] == pytest.approx(136, abs=1)
    assert take_luminance(plain((255, 0, 0)), 512, 2.0)[0, 0].tolist() == [26, 26, 26]


def test_intensity_is_the_largest_channel():
    assert take_intensity(plain((10, 128, 60)), 512, 1.0)[0, 0].tolist() == [128, 128, 128]
    assert take_intensity(plain((10, 128, 60)), 512, 0.5)[0, 0, 0] == 180


def test_a_blur_spreads_a_point_by_its_sigma_in_pixels_of_the_result():
    image = plain((0, 0, 0), 65, 65)
    image[32, 32] = 255
    spread = blur(image, 65, 2.0)[:, :, 0]
    assert spread[32, 32] == pytest.approx(255 / (2 * np.pi * 4), abs=1)
    assert blur(plain((9, 90, 200)), 64, 9.0)[5, 5].tolist() == [9, 90, 200]


def test_a_colour_grid_has_squares_of_64_pixels():
    image = plain((255, 0, 0), 128, 256)
    image[:, 128:] = (0, 0, 255)
    grid = make_colour_grid(image, 128)
    assert grid.shape == (128, 256, 3)
    assert len({tuple(grid[y, x]) for y in range(64) for x in range(64)}) == 1
    assert grid[0, 0, 0] > 250
    assert grid[0, 255].tolist() == grid[127, 200].tolist()
    assert grid[0, 255, 2] > 250


def test_shuffle_moves_pixels_smoothly_by_its_seed():
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    image = np.stack(
        (np.tile(ramp, (512, 1)), np.tile(ramp[:, None], (1, 512)), np.zeros((512, 512))), axis=2
    ).astype(np.uint8)

    def draw(seed: int) -> Pixels:
        return shuffle(image, 512, 0, 0, np.random.RandomState(seed))

    moved = draw(5)
    assert np.array_equal(moved, draw(5))
    assert not np.array_equal(moved, draw(6))
    # The noise reaches from 0 to 1, so that x and y of the source reach from end to end.
    assert moved[:, :, :2].reshape(-1, 2).min(axis=0).tolist() == [0, 0]
    assert moved[:, :, :2].reshape(-1, 2).max(axis=0).tolist() == [255, 255]
    assert np.abs(np.diff(moved[:, :, 0].astype(int), axis=1)).max() <= 4
    # As NumPy's seeded generator draws them: the corners of the noise are the middle of its cubic interpolation.
    first = np.random.RandomState(5).uniform(0, 1, (4, 4, 1))
    x = cv2.resize(first, (1024, 1024), interpolation=cv2.INTER_CUBIC)[256:768, 256:768]
    x = (x - x.min()) / (x.max() - x.min())
    assert np.abs(moved[:, :, 0] - x * 255).max() < 2


def test_the_seed_of_shuffle_is_that_of_the_image_and_the_variation():
    assert shuffle_seed(5, 7) == 12
    assert shuffle_seed(2**32 - 1, 2) == 1
