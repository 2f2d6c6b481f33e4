"""Each prediction type returns the x0 that its definition hides in the sample."""

from __future__ import annotations

import math

import pytest
import torch

from modules.backend.denoise.prediction import PREDICTIONS

GENERATOR = torch.Generator().manual_seed(1)
X0, NOISE = (torch.randn((2, 4, 8, 8), generator=GENERATOR, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("sigma", [0.03, 0.9, 14.6])
def test_epsilon_is_the_noise(sigma: float):
    row = PREDICTIONS.get("epsilon")
    assert torch.allclose(row.to_denoised(X0 + sigma * NOISE, NOISE, sigma, sigma), X0)


@pytest.mark.parametrize("sigma", [0.03, 0.9, 14.6])
def test_v_is_the_velocity_of_the_variance_preserving_sample(sigma: float):
    """Salimans and Ho 2022: v = alpha noise - s x0, with alpha = 1 / sqrt(1 + sigma^2) and s = sigma alpha."""
    alpha = 1 / math.sqrt(1 + sigma**2)
    v = alpha * NOISE - sigma * alpha * X0
    row = PREDICTIONS.get("v_prediction")
    assert torch.allclose(row.to_denoised(X0 + sigma * NOISE, v, sigma, sigma), X0)


@pytest.mark.parametrize("sigma", [0.03, 0.5, 1.0])
def test_flow_is_the_velocity_from_image_to_noise(sigma: float):
    x = (1 - sigma) * X0 + sigma * NOISE
    row = PREDICTIONS.get("flow_prediction")
    assert torch.allclose(row.to_denoised(x, NOISE - X0, sigma, sigma), X0)


def test_the_network_gets_samples_of_unit_variance_but_flow_ones_as_they_are():
    scales = {row.name: row.input_scale(3.0) for row in PREDICTIONS}
    assert scales == {
        "epsilon": pytest.approx(math.sqrt(10)),
        "v_prediction": pytest.approx(math.sqrt(10)),
        "flow_prediction": 1.0,
    }
