from __future__ import annotations

import math

import numpy as np
import pytest

from modules.core.errors import UserError
from modules.sampling.forward_process import ForwardProcess
from tests.sampling.toy_models import sd1_model_sigmas

SAMPLES = 40_000
X0 = 1.5  # every sample starts here, so that mean and variance are those of q(x_t | x_0)


@pytest.fixture(scope="module")
def process() -> ForwardProcess:
    return ForwardProcess(sd1_model_sigmas())


@pytest.fixture
def draw():
    generator = np.random.default_rng(7)
    return lambda: generator.standard_normal(SAMPLES)


def test_betas_are_those_of_stable_diffusion(process: ForwardProcess):
    # scaled_linear: squares of evenly spaced values between the roots of linear_start and linear_end
    expected = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
    assert process.step_count == 1000
    np.testing.assert_allclose(process.betas, expected, rtol=1e-5)


def test_alpha_bar_is_the_product_of_one_minus_beta(process: ForwardProcess):
    np.testing.assert_allclose(process.alphas_cumprod, np.cumprod(1 - process.betas), rtol=1e-9)
    assert process.alpha_bar(0) == 1
    assert process.snr(0) == math.inf
    assert process.snr(1000) == pytest.approx(1 / 14.6146**2, rel=1e-3)


@pytest.mark.parametrize("time", [1, 10, 250, 1000])
def test_the_chain_and_the_closed_form_have_the_same_mean_and_variance(
    process: ForwardProcess, draw, time: int
):
    *_, chained = process.chain(np.full(SAMPLES, X0), draw, time)
    closed_form = process.q_sample(np.full(SAMPLES, X0), draw(), time)
    mean, variance = X0 * math.sqrt(process.alpha_bar(time)), 1 - process.alpha_bar(time)
    error = 4 * math.sqrt(variance / SAMPLES)  # four standard errors of a mean
    spread = 4 * variance * math.sqrt(2 / SAMPLES)  # and of a variance
    for drawn in (chained, closed_form):
        assert abs(drawn.mean() - mean) < error
        assert abs(drawn.var() - variance) < spread


def test_the_last_time_is_unit_noise(process: ForwardProcess, draw):
    drawn = process.q_sample(np.full(SAMPLES, X0), draw(), 1000)
    assert abs(drawn.mean()) < X0 * math.sqrt(process.alpha_bar(1000)) + 4 / math.sqrt(SAMPLES)
    assert drawn.var() == pytest.approx(1, abs=0.03)


def test_at_time_0_the_image_is_unchanged(process: ForwardProcess, draw):
    x0 = draw()
    assert np.array_equal(process.q_sample(x0, draw(), 0), x0)
    assert list(process.chain(x0, draw, 0)) == []


@pytest.mark.parametrize(("count", "first", "last"), [(2, 0, 1000), (9, 0, 1000), (1000, 0, 1000)])
def test_times_are_spread_from_the_image_to_noise(
    process: ForwardProcess, count: int, first: int, last: int
):
    times = process.times(count)
    assert (len(times), times[0], times[-1]) == (count, first, last)
    assert times == sorted(set(times))


@pytest.mark.parametrize("count", [-1, 0, 1, 1001])
def test_an_impossible_count_of_times_is_rejected(process: ForwardProcess, count: int):
    with pytest.raises(UserError, match=f"{count} timesteps cannot be shown"):
        process.times(count)
