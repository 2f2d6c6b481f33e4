"""Control images are resized so that lines stay lines and classes stay classes, by sd-webui-controlnet's modes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from modules.images.control.control_image import Pixels, fit_control_image, resize_control_image


def lines(size: int, width: int) -> Pixels:
    image = Image.new("RGB", (size, size))
    ImageDraw.Draw(image).ellipse((9, 9, size - 9, size - 9), outline="white", width=width)
    return np.asarray(image)


@pytest.mark.parametrize("size", [90, 256])
def test_lines_of_a_pixel_stay_one_pixel_wide_and_pure(size: int):
    resized = resize_control_image(lines(128, 1), size, size)
    assert set(np.unique(resized)) == {0, 255}
    middle = resized[size // 2, :, 0] > 0
    assert 2 <= middle.sum() <= 4  # one crossing at each side


def test_broader_shapes_in_black_and_white_stay_pure():
    resized = resize_control_image(lines(128, 9), 256, 256)
    assert set(np.unique(resized)) == {0, 255}
    assert (resized[128, :, 0] > 0).sum() == pytest.approx(36, abs=4)


def test_maps_of_classes_get_no_new_colours():
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (7, 3), np.uint8)
    image = colours[rng.integers(0, 7, (32, 32))]
    resized = resize_control_image(image, 50, 41)
    assert resized.shape == (41, 50, 3)
    known = {tuple(colour) for colour in colours}
    assert {tuple(colour) for colour in resized.reshape(-1, 3)} <= known


def picture(width: int, height: int) -> Pixels:
    """Return a smooth picture: red counts columns, green rows."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([red, green, np.full_like(red, 99)]).astype(np.uint8)


def test_the_resize_modes_stretch_crop_and_fill():
    wide = picture(256, 128)
    stretched = fit_control_image(wide, 64, 64, "Just Resize")
    assert stretched.shape == (64, 64, 3)
    assert stretched[0, 0, 0] < 10 < 245 < stretched[0, -1, 0]
    cropped = fit_control_image(wide, 64, 64, "Crop and Resize")
    assert cropped.shape == (64, 64, 3)
    assert int(cropped[0, 0, 0]) == pytest.approx(64, abs=4)
    assert int(cropped[0, -1, 0]) == pytest.approx(191, abs=4)
    filled = fit_control_image(wide, 64, 64, "Resize and Fill")
    assert filled.shape == (64, 64, 3)
    assert len(np.unique(filled[:16].reshape(-1, 3), axis=0)) == 1  # the median of the border
    assert np.array_equal(filled[16:48], resize_control_image(wide, 64, 32))
    assert (
        fit_control_image(picture(64, 64), 64, 64, "Crop and Resize").tobytes()
        == picture(64, 64).tobytes()
    )


def test_a_mask_in_the_fourth_channel_stays_black_and_white():
    mask = np.zeros((128, 256, 1), np.uint8)
    mask[:, 100:] = 255
    fitted = fit_control_image(np.dstack([picture(256, 128), mask]), 64, 32, "Just Resize")
    assert fitted.shape == (32, 64, 4)
    assert set(np.unique(fitted[:, :, 3])) == {0, 255}
    assert (fitted[:, :, 3] > 0).sum(axis=1).tolist() == [39] * 32
