from __future__ import annotations

import pytest
import torch

from modules.backend.noise import ImageNoise

SHAPE = (4, 8, 8)
CPU = torch.device("cpu")


def test_noise_of_seed_42_is_that_of_a1111_with_rng_cpu():
    noise = ImageNoise([42], SHAPE, CPU)()
    assert noise.shape == (1, 4, 8, 8)
    assert noise.dtype == torch.float32
    assert noise.flatten()[:4].tolist() == pytest.approx([1.92692, 1.48728, 0.90072, -2.10552], abs=1e-5)


def test_a_picture_of_a_batch_has_the_noise_of_its_seed_alone():
    batch = ImageNoise([7, 8, 9], SHAPE, CPU)
    alone = ImageNoise([8], SHAPE, CPU)
    for _ in range(3):
        assert torch.equal(batch()[1:2], alone())


def test_later_draws_continue_the_same_generator():
    generator = torch.Generator("cpu").manual_seed(5)
    expected = [torch.randn(SHAPE, generator=generator) for _ in range(3)]
    noise = ImageNoise([5], SHAPE, CPU)
    assert all(torch.equal(noise()[0], draw) for draw in expected)


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    first = ImageNoise([5], SHAPE, CPU)()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(ImageNoise([5], SHAPE, CPU)(), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_largest_seed_can_be_used():
    assert torch.isfinite(ImageNoise([2**53 - 1], SHAPE, CPU)()).all()
