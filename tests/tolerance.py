"""How far rounding may take two ways to the same number apart: from the arithmetic, not from one machine.

Another processor, another number of threads or a batch instead of one after the other add the same products in
another order, so that answers agree to rounding alone. Where both ways run the same operations on the same shapes,
a test asks for equality instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.testing import assert_close


def rounding(*networks: nn.Module, terms: int = 0) -> float:
    """Return how far apart two ways may be, in eps of the largest number on the way.

    A rounding is off by 0.29 eps on average, with either sign, so that the errors of n of them add up to sqrt(n) times
    that and not to n (Higham and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis"). Of each term of
    a sum there are four, a product and an addition on either way, and of a thousand numbers the worst is off by 3.4
    times the average: 0.29 eps sqrt(4 n) 3.4 = 2 eps sqrt(n). Layers behind each other add their terms, for norms keep
    the numbers at one size.

    Args:
        networks: What the numbers pass, one behind the other.
        terms: Further terms on the way.
    """
    weights = [one for network in networks for one in network.parameters() if one.ndim in (2, 4)]
    terms += sum(weight[0].numel() for weight in weights)  # of each number that a layer returns
    return 2 * math.sqrt(terms)


def guidance_gain(scale: float, *weights: float) -> float:
    """Return how often the error of one answer counts in uncond + scale sum(weight (cond - uncond)).

    Args:
        scale: The guidance scale.
        weights: Those of the prompts; none stands for one prompt.
    """
    weights = weights or (1.0,)
    return abs(1 - scale * sum(weights)) + sum(abs(scale * weight) for weight in weights)


def run_gain(sigmas: Sequence[float], scale: float = 1.0) -> float:
    """Return how often the error of one answer counts after a walk: a step moves by at most its level's size."""
    return guidance_gain(scale) * sum(sigmas)


def assert_alike(
    found: Tensor, expected: Tensor, way: float, *, gain: float = 1.0, size: float | None = None
) -> None:
    """Assert that two answers differ by no more than rounding.

    Args:
        found: One way's answer, in the dtype that both ways calculate in.
        expected: The other way's.
        way: What `rounding` returns for it.
        gain: How often an error counts in the answer, as `guidance_gain` says of guidance.
        size: The largest number on the way, without the gain; that of the answer unless it is given.
    """
    size = float(expected.abs().max()) if size is None else size
    eps = torch.finfo(found.dtype).eps
    assert_close(found, expected, rtol=0, atol=way * eps * gain * size)
