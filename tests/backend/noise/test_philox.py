from __future__ import annotations

import numpy as np
import pytest

from modules.backend.noise.philox import Philox


def test_seed_0_gives_the_noise_of_an_nvidia_card():
    numbers = Philox(0).normal((4,))
    assert numbers.dtype == np.float32
    assert numbers.tolist() == pytest.approx([-0.92466, -0.42534, -2.64385, 0.14518], abs=1e-4)


def test_seed_42_gives_the_noise_of_an_nvidia_card_draw_after_draw():
    generator = Philox(42)
    first, second = generator.normal((4,)), generator.normal((4,))
    assert first.tolist() == pytest.approx([0.19402, 2.16137, -0.17205, 0.84906], abs=1e-4)
    assert second.tolist() == pytest.approx([0.13914, -0.10822, -0.71742, 0.75665], abs=1e-4)


def test_a_shape_is_filled_in_order():
    assert Philox(3).normal((4, 5, 6)).ravel().tolist() == Philox(3).normal((120,)).tolist()


def test_the_numbers_are_normal():
    numbers = Philox(1).normal((200_000,)).astype(np.float64)
    assert abs(numbers.mean()) < 0.01
    assert numbers.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(numbers) < 1).mean() == pytest.approx(0.6827, abs=0.005)
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("seed", [2**32, 2**32 + 1, 2**53 - 1, 2**64 - 1])
def test_the_upper_32_bits_of_a_seed_matter(seed: int):
    assert Philox(seed).normal((8,)).tolist() != Philox(seed % 2**32).normal((8,)).tolist()
