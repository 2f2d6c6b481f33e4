from __future__ import annotations

import numpy as np
from PIL import Image

from modules.images.colour_correction import correct_colours, match_histogram

LUMA = np.array([0.299, 0.587, 0.114])


def make_textured(tint: tuple[float, float, float], seed: int = 0) -> Image.Image:
    grey = np.random.default_rng(seed).uniform(60, 190, (24, 32, 1))
    return Image.fromarray((grey * np.array(tint)).clip(0, 255).astype(np.uint8))


def test_an_image_matched_to_itself_hardly_changes():
    image = make_textured((1, 0.8, 0.6))
    change = np.abs(np.asarray(correct_colours(image, image)).astype(int) - np.asarray(image))
    assert change.max() <= 4, "8-bit Lab holds no more of a colour"


def test_a_colour_cast_is_removed_and_the_luminosity_kept():
    reference, cast = make_textured((1, 1, 1)), make_textured((1.2, 0.9, 0.7), seed=1)
    corrected = np.asarray(correct_colours(cast, reference)).astype(float)
    original = np.asarray(cast).astype(float)
    assert np.ptp(corrected.mean(axis=(0, 1))) < 3 < 60 < np.ptp(original.mean(axis=(0, 1)))
    difference = original @ LUMA - corrected @ LUMA
    assert -1e-6 < difference.min() <= difference.max() < 1, (
        "each channel is truncated, not rounded"
    )


def test_a_colour_too_bright_for_its_luminosity_is_moved_towards_grey():
    # OpenCV's Lab keeps grey 128 and brings red back as (255, 2, 1). With the luminosity of grey 128, 0.50196, that is
    # (1.19791, 0.20575, 0.20183); moved towards 0.50196 until it fits: (1, 0.28999, 0.28718), in levels 73.95 and 73.23.
    red, grey = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (128, 128, 128))
    assert correct_colours(grey, red).getcolors() == [(64, (255, 73, 73))]


def test_a_colour_too_dark_for_its_luminosity_is_moved_towards_grey():
    # Blue comes back as (0, 1, 255), of luminosity 0.1163. With that of grey 20, 0.07843, it is (-0.03787, -0.03395,
    # 0.96213); around 0.07843 it is scaled by 0.07843 / 0.1163: (0, 0.00264, 0.67438), in levels 0.67 and 171.97.
    blue, grey = Image.new("RGB", (8, 8), (0, 0, 255)), Image.new("RGB", (8, 8), (20, 20, 20))
    assert correct_colours(grey, blue).getcolors() == [(64, (0, 0, 171))]


def test_levels_are_matched_by_their_quantiles_and_truncated():
    # Half of the values are 0. In the reference a quarter is 100 and the rest 200: half lies a third of the way, 133.3.
    levels = np.array([[0, 0], [9, 9]], np.uint8)
    reference = np.array([[100, 200, 200, 200]], np.uint8)
    assert match_histogram(levels, reference).tolist() == [[133, 133], [200, 200]]
