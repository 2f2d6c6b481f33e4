from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.colour_correction import correct_colours


def make_textured(tint: tuple[float, float, float], seed: int = 0) -> Image.Image:
    grey = np.random.default_rng(seed).uniform(60, 190, (24, 32, 1))
    return Image.fromarray((grey * np.array(tint)).clip(0, 255).astype(np.uint8))


def test_an_image_matched_to_itself_hardly_changes():
    image = make_textured((1, 0.8, 0.6))
    change = np.abs(np.asarray(correct_colours(image, image)).astype(int) - np.asarray(image))
    assert change.max() <= 2


def test_a_colour_cast_is_removed_and_the_luminosity_kept():
    reference, cast = make_textured((1, 1, 1)), make_textured((1.2, 0.9, 0.7), seed=1)
    corrected = np.asarray(correct_colours(cast, reference)).astype(float)
    original = np.asarray(cast).astype(float)
    assert np.ptp(corrected.mean(axis=(0, 1))) < 3 < 60 < np.ptp(original.mean(axis=(0, 1)))
    luma = np.array([0.3, 0.59, 0.11])
    assert np.abs(corrected @ luma - original @ luma).max() < 2
