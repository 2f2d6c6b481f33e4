from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.colour_correction import correct_colours


def textured(tint: tuple[float, float, float], seed: int = 0) -> Image.Image:
    grey = np.random.default_rng(seed).uniform(60, 190, (24, 32, 1))
    return Image.fromarray((grey * np.array(tint)).clip(0, 255).astype(np.uint8))


def test_a_picture_with_its_own_colours_is_hardly_changed():
    image = textured((1, 0.8, 0.6))
    moved = np.abs(np.asarray(correct_colours(image, image)).astype(int) - np.asarray(image))
    assert moved.max() <= 2


def test_a_cast_goes_and_the_luminosity_stays():
    wanted, cast = textured((1, 1, 1)), textured((1.2, 0.9, 0.7), seed=1)
    made = np.asarray(correct_colours(cast, wanted)).astype(float)
    before = np.asarray(cast).astype(float)
    assert np.ptp(made.mean(axis=(0, 1))) < 3 < 60 < np.ptp(before.mean(axis=(0, 1)))
    luma = np.array([0.3, 0.59, 0.11])
    assert np.abs(made @ luma - before @ luma).max() < 2
