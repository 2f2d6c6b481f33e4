from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.backend.noise.brownian import BrownianTree

LOW, HIGH = 0.0291675, 14.614643
# torchsde 0.2.6: BrownianTree(LOW, zeros(4), HIGH, entropy=42) on a CPU, sigmas in 32 bits.
MEASURED = {
    (LOW, HIGH): [-1.74535, -5.20216, 2.13061, -0.57135],
    (9.1029, HIGH): [1.05603, -3.28801, 4.57542, -0.00808],
    (5.4784, 9.1029): [0.36401, -0.68037, -2.07134, 0.66201],
    (0.0819, 0.2014): [0.43498, -0.42898, -0.20985, -0.02626],
}


def draw(seed: int, count: int = 4) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def tree_of(entropy: int) -> BrownianTree:
    return BrownianTree(entropy, LOW, HIGH, draw)


@pytest.mark.parametrize("interval", MEASURED)
def test_increments_are_those_of_torchsde(interval: tuple[float, float]):
    found = tree_of(42).between(*interval)
    assert found.tolist() == pytest.approx(MEASURED[interval], abs=1e-4)


def test_an_increment_does_not_depend_on_earlier_queries():
    fresh, used = tree_of(7), tree_of(7)
    for start, end in ((9.0, 5.0), (5.0, 1.0), (12.0, 9.0), (1.0, 0.05)):
        used.between(start, end)
    assert torch.equal(used.between(4.0, 3.0), fresh.between(4.0, 3.0))


def test_increments_add_up():
    tree = tree_of(3)
    parts = tree.between(1.0, 4.0) + tree.between(4.0, 11.0)
    assert torch.allclose(parts, tree.between(1.0, 11.0), atol=1e-5)


def test_a_reversed_interval_negates_the_increment():
    tree = tree_of(3)
    assert torch.equal(tree.between(4.0, 1.0), -tree.between(1.0, 4.0))


def test_another_seed_gives_another_motion():
    assert not torch.allclose(tree_of(1).between(1.0, 4.0), tree_of(2).between(1.0, 4.0))


def test_points_outside_the_interval_are_clamped():
    tree = tree_of(5)
    assert torch.equal(tree.between(0.0, 99.0), tree.between(LOW, HIGH))


@pytest.mark.parametrize("interval", [(0.03, 14.6), (2.0, 3.0), (0.1, 0.15)])
def test_the_variance_of_an_increment_is_the_distance(interval: tuple[float, float]):
    tree = BrownianTree(9, LOW, HIGH, lambda seed: draw(seed, 20_000))
    increment = tree.between(*interval)
    assert float(increment.var()) == pytest.approx(interval[1] - interval[0], rel=0.05)
    assert abs(float(increment.mean())) < 0.03 * (interval[1] - interval[0]) ** 0.5


def test_neighbouring_increments_are_uncorrelated():
    tree = BrownianTree(9, LOW, HIGH, lambda seed: draw(seed, 20_000))
    both = torch.stack([tree.between(1.0, 2.0), tree.between(2.0, 3.0)])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.03
