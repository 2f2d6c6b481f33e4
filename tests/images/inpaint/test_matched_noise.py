from __future__ import annotations

import numpy as np
import pytest

from modules.images.inpaint.expanded_canvas import expanded_sides
from modules.images.inpaint.matched_noise import matched_noise


def test_the_new_area_has_the_histogram_of_the_rest_and_the_rest_stays():
    image = np.zeros((64, 128, 3))
    image[:, :64] = np.random.default_rng(3).random((64, 64, 3)) * (0.5, 0.3, 0.1) + 0.2
    mask = np.zeros((64, 128))
    mask[:, 64:] = 1
    result = matched_noise(image, mask, 1.0, 0.05)
    assert (result[:, :64] == image[:, :64]).all()
    for quantile in (0, 0.25, 0.5, 0.75, 1):
        old, new = (
            np.quantile(part, quantile, axis=(0, 1)) for part in (result[:, :64], result[:, 64:])
        )
        assert new == pytest.approx(old, abs=2e-3)
    assert (result == matched_noise(image, mask, 1.0, 0.05)).all()


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_plain_image_gets_plain_sides(level: float):
    image, mask = np.full((64, 64, 3), level), np.zeros((64, 64))
    mask[:, 32:] = 1
    assert matched_noise(image, mask, 1.0, 0.05) == pytest.approx(np.full((64, 64, 3), level))


def test_new_sides_make_the_whole_a_multiple_of_64():
    assert expanded_sides((500, 300), 64, ("left", "right", "up")) == (70, 84, 70, 0)
    assert expanded_sides((512, 512), 128, ()) == (0, 0, 0, 0)
