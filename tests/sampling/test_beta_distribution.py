from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.sampling.beta_distribution import beta_cdf, beta_quantile

PROBABILITIES = [0.001, 0.1, 0.5, 0.77, 0.999]


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_quantiles_match_their_closed_forms(probability: float):
    assert beta_quantile(probability, 1, 1) == pytest.approx(probability, rel=1e-12)
    assert beta_quantile(probability, 3, 1) == pytest.approx(probability ** (1 / 3), rel=1e-12)
    assert beta_quantile(probability, 1, 0.4) == pytest.approx(
        1 - (1 - probability) ** (1 / 0.4), rel=1e-11
    )
    assert beta_quantile(probability, 0.5, 0.5) == pytest.approx(
        math.sin(math.pi * probability / 2) ** 2, rel=1e-11
    )


@settings(max_examples=60, deadline=None)
@given(value=st.floats(1e-4, 1 - 1e-4), alpha=st.floats(0.05, 5), beta=st.floats(0.05, 5))
def test_the_quantile_is_the_inverse_of_the_cdf(value: float, alpha: float, beta: float):
    probability = beta_cdf(value, alpha, beta)
    assert beta_cdf(beta_quantile(probability, alpha, beta), alpha, beta) == pytest.approx(
        probability, rel=1e-9, abs=1e-12
    )


def test_the_quantiles_of_0_and_1_are_0_and_1():
    assert [beta_quantile(p, 0.6, 0.6) for p in (0.0, 1.0)] == [0.0, 1.0]
