from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.sampling.beta_distribution import beta_cdf, beta_quantile

SHARES = [0.001, 0.1, 0.5, 0.77, 0.999]


@pytest.mark.parametrize("share", SHARES)
def test_quantiles_with_a_closed_form_are_met(share: float):
    assert beta_quantile(share, 1, 1) == pytest.approx(share, rel=1e-12)
    assert beta_quantile(share, 3, 1) == pytest.approx(share ** (1 / 3), rel=1e-12)
    assert beta_quantile(share, 1, 0.4) == pytest.approx(1 - (1 - share) ** (1 / 0.4), rel=1e-11)
    assert beta_quantile(share, 0.5, 0.5) == pytest.approx(
        math.sin(math.pi * share / 2) ** 2, rel=1e-11
    )


@settings(max_examples=60, deadline=None)
@given(value=st.floats(1e-4, 1 - 1e-4), alpha=st.floats(0.05, 5), beta=st.floats(0.05, 5))
def test_the_quantile_is_the_inverse_of_the_share(value: float, alpha: float, beta: float):
    share = beta_cdf(value, alpha, beta)
    assert beta_cdf(beta_quantile(share, alpha, beta), alpha, beta) == pytest.approx(
        share, rel=1e-9, abs=1e-12
    )


def test_the_ends_are_the_ends():
    assert [beta_quantile(share, 0.6, 0.6) for share in (0.0, 1.0)] == [0.0, 1.0]
