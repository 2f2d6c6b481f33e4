"""Changes of the predicted latents, and of finished images, against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from modules.backend.control.adapters.latent_fixes import (
    ColourFix,
    KeptLatents,
    LatentSource,
    blur,
)
from modules.backend.denoise.step_extensions import UNetCall
from modules.images.control.control_results import with_intensity, with_kept_part, with_luminance
from tests.backend.control.adapter_files import random, random_image
from tests.backend.tiny import sd1_alphas

ALPHAS = sd1_alphas().float()
X, OUTPUT, KNOWN = (random(4, 4, 12, 16, seed=seed) * 8 for seed in range(3))
CALL = UNetCall(X, torch.tensor(400.4), X, 0, {}, (True, False))


def to_x0(output: Tensor, prediction: str) -> Tensor:
    """Return the clean latents that an output at timestep 400 stands for."""
    signal, noise = ALPHAS[400].sqrt(), (1 - ALPHAS[400]).sqrt()
    if prediction == "v_prediction":
        return signal * X - noise * output
    return (X - noise * output) / signal


def source(prediction: str = "epsilon", weight: float = 1.0) -> LatentSource:
    return LatentSource(KNOWN[:1], ALPHAS, prediction, weight)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_colours_are_those_of_the_control_image(prediction: str) -> None:
    before = to_x0(OUTPUT, prediction)
    expected = before - blur(before, 3) + blur(KNOWN[:1], 3)
    fixed = ColourFix(source(prediction), 3).unet_output(CALL, OUTPUT)
    assert_close(to_x0(fixed, prediction), expected, rtol=0, atol=1e-4)

    half = ColourFix(source(prediction, 0.5), 3).unet_output(CALL, OUTPUT)
    assert_close(to_x0(half, prediction), (before + expected) / 2, rtol=0, atol=1e-4)


def test_a_blur_is_a_mean_that_continues_the_border() -> None:
    kernel = torch.full((4, 1, 5, 5), 1 / 25)
    padded = functional.pad(X, (2, 2, 2, 2), mode="replicate")
    assert_close(blur(X, 2), functional.conv2d(padded, kernel, groups=4), rtol=0, atol=1e-5)


def test_sharpness_takes_detail_out_of_the_negative_prompt_alone() -> None:
    plain = to_x0(ColourFix(source(), 3).unet_output(CALL, OUTPUT), "epsilon")
    sharp = to_x0(ColourFix(source(), 3, 0.2).unet_output(CALL, OUTPUT), "epsilon")
    assert_close(sharp[2:], plain[2:], rtol=0, atol=1e-5)
    assert_close(sharp[:2], 0.8 * plain[:2] + 0.2 * blur(plain[:2], 3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_latents_outside_of_the_mask_are_kept(prediction: str) -> None:
    mask = torch.zeros(1, 1, 96, 128)
    mask[..., 24:40, 32:48] = 1  # cells 3 to 4 and 4 to 5, whose neighbours see its edge
    fixed = to_x0(KeptLatents(source(prediction), mask).unet_output(CALL, OUTPUT), prediction)
    expected = KNOWN[:1].repeat(4, 1, 1, 1)
    expected[..., 2:6, 3:7] = to_x0(OUTPUT, prediction)[..., 2:6, 3:7]
    assert_close(fixed, expected, rtol=0, atol=1e-4)


def test_with_no_signal_the_output_stays_finite() -> None:
    alphas = ALPHAS.clone()
    alphas[400] = 0.0  # as with a zero terminal SNR
    for prediction in ("epsilon", "v_prediction"):
        place = LatentSource(KNOWN[:1], alphas, prediction, 1.0)  # pyright: ignore[reportArgumentType]
        assert bool(torch.isfinite(ColourFix(place, 3).unet_output(CALL, OUTPUT)).all())


def test_a_recoloured_image_has_the_control_image_brightness() -> None:
    image, grey = random_image(), np.repeat(random_image(seed=1)[:, :, :1], 3, axis=2)
    changed = with_intensity(image, grey)
    assert np.abs(changed.max(axis=2).astype(int) - grey[:, :, 0]).max() <= 1
    muted = (image // 8 + 112).astype(np.uint8)  # colours that exist in every brightness
    luminance = with_luminance(muted, (grey // 2 + 64).astype(np.uint8))
    weights = np.array([0.2126, 0.7152, 0.0722])
    order = np.corrcoef((luminance @ weights).ravel(), grey[:, :, 0].ravel())
    assert order[0, 1] > 0.99


def test_what_is_outside_of_the_mask_is_the_control_image() -> None:
    image, control = random_image(64, 64), random_image(64, 64, seed=1)
    mask = np.zeros((64, 64), np.float32)
    mask[20:40, 20:40] = 1
    result = with_kept_part(image, control, mask)
    assert np.array_equal(result[:12], control[:12])
    assert np.array_equal(result[22:38, 22:38], image[22:38, 22:38])
    assert np.array_equal(with_kept_part(image, control, np.zeros_like(mask)), control)
