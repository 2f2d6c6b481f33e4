"""The quantile function of the beta distribution, for the Beta schedule."""

from __future__ import annotations

import math

_TINY = 1e-300
_TOLERANCE = 3e-16


def beta_quantile(probability: float, alpha: float, beta: float) -> float:
    """Return the value at which the beta distribution's CDF is `probability`, to about 12 digits.

    The CDF is monotonic and cheap, so it is inverted by bisection.

    Args:
        probability: 0 to 1.
        alpha: First shape parameter, above 0.
        beta: Second shape parameter, above 0.
    """
    if probability <= 0 or probability >= 1:
        return min(max(probability, 0.0), 1.0)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_cdf(middle, alpha, beta) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_cdf(value: float, alpha: float, beta: float) -> float:
    """Return the CDF of the beta distribution: the regularised incomplete beta function.

    Uses its continued fraction (Abramowitz and Stegun 26.5.8) on the side where it converges fast.
    """
    if value <= 0 or value >= 1:
        return min(max(value, 0.0), 1.0)
    log_front = (
        math.lgamma(alpha + beta)
        - math.lgamma(alpha)
        - math.lgamma(beta)
        + alpha * math.log(value)
        + beta * math.log1p(-value)
    )
    if value < (alpha + 1) / (alpha + beta + 2):
        return math.exp(log_front) * _continued_fraction(value, alpha, beta) / alpha
    return 1 - math.exp(log_front) * _continued_fraction(1 - value, beta, alpha) / beta


def _continued_fraction(value: float, alpha: float, beta: float) -> float:
    """Return 1 / (1 + d1 / (1 + d2 / ...)) by Lentz's method (Thompson and Barnett 1986)."""
    numerator, denominator = 1.0, 1 / _avoid_zero(1 - (alpha + beta) * value / (alpha + 1))
    result = denominator
    for m in range(1, 500):
        even = m * (beta - m) * value / ((alpha + 2 * m - 1) * (alpha + 2 * m))
        odd = -((alpha + m) * (alpha + beta + m) * value / ((alpha + 2 * m) * (alpha + 2 * m + 1)))
        factor = 1.0
        for term in (even, odd):
            denominator = 1 / _avoid_zero(1 + term * denominator)
            numerator = _avoid_zero(1 + term / numerator)
            factor = denominator * numerator
            result *= factor
        if abs(factor - 1) < _TOLERANCE:
            break
    return result


def _avoid_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
