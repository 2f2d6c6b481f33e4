from __future__ import annotations

import itertools
import threading

import pytest
import torch
from torch import Tensor

from modules.backend.noise.noise import (
    NOISE_SOURCES,
    Draws,
    ImageNoise,
    NoiseOptions,
    paste_centered,
    slerp,
)
from modules.plan.plan import ImagePlan

SHAPE = (4, 8, 8)
CPU = torch.device("cpu")
SIGMAS = (14.6146, 9.1029, 5.4784, 3.1686, 0.0292, 0.0)


def make_noise(*seeds: int, shape: tuple[int, int, int] = SHAPE, **options: object) -> ImageNoise:
    images = [ImagePlan(index, seed, 1000 + index) for index, seed in enumerate(seeds)]
    noise = ImageNoise(images, shape, CPU, NoiseOptions(**options))  # type: ignore[arg-type]
    noise.sigmas = SIGMAS
    return noise


def first_of(*seeds: int, **options: object) -> Tensor:
    return make_noise(*seeds, **options)()  # type: ignore[arg-type]


def test_cpu_noise_of_seed_42_equals_a1111s():
    noise = first_of(42, source="CPU")
    assert noise.shape == (1, 4, 8, 8)
    assert noise.dtype == torch.float32
    assert noise.flatten()[:4].tolist() == pytest.approx(
        [1.92692, 1.48728, 0.90072, -2.10552], abs=1e-4
    )


def test_nv_noise_of_seed_0_equals_a1111s():
    noise = first_of(0, source="NV").flatten()[:4]
    assert noise.tolist() == pytest.approx([-0.92466, -0.42534, -2.64385, 0.14518], abs=1e-4)


def test_without_an_nvidia_card_gpu_noise_is_nv_noise():
    card, emulated = make_noise(5, source="GPU"), make_noise(5, source="NV")
    assert all(torch.equal(card(), emulated()) for _ in range(3))
    assert torch.equal(card.between(9.0, 5.0), emulated.between(9.0, 5.0))


@pytest.mark.parametrize("source", ["CPU", "NV"])
@pytest.mark.parametrize(
    "options",
    [{}, {"subseed_strength": 0.3}, {"seed_resize_from": (5, 11)}, {"eta_noise_seed_delta": 31337}],
)
def test_the_noise_of_an_image_depends_on_its_seeds_alone(source: str, options: dict[str, object]):
    batch = make_noise(7, 8, 9, source=source, **options)  # type: ignore[arg-type]
    alone = ImageNoise([ImagePlan(0, 8, 1001)], SHAPE, CPU, NoiseOptions(source, **options))  # type: ignore[arg-type]
    alone.sigmas = SIGMAS
    for _ in range(3):
        assert torch.equal(batch()[1:2], alone())
    assert torch.equal(batch.between(9.0, 5.0)[1:2], alone.between(9.0, 5.0))


@pytest.mark.parametrize("options", [{}, {"subseed_strength": 0.3}])
def test_later_draws_continue_the_generator_of_the_seed(options: dict[str, object]):
    generator = torch.Generator("cpu").manual_seed(5)
    expected = [torch.randn(SHAPE, generator=generator) for _ in range(3)]
    noise = make_noise(5, source="CPU", **options)  # type: ignore[arg-type]
    noise()
    assert torch.equal(noise()[0], expected[1])
    assert torch.equal(noise()[0], expected[2])


def test_ensd_starts_new_generators_after_the_first_draw():
    noise = make_noise(5, source="CPU", eta_noise_seed_delta=31337)
    assert torch.equal(noise(), first_of(5, source="CPU"))
    assert torch.equal(noise(), first_of(5 + 31337, source="CPU"))


def test_ensd_does_not_affect_the_brownian_motion():
    plain, shifted = (
        make_noise(5, source="CPU"),
        make_noise(5, source="CPU", eta_noise_seed_delta=31337),
    )
    assert torch.equal(plain.between(9.0, 5.0), shifted.between(9.0, 5.0))


def test_the_global_generator_is_neither_read_nor_advanced():
    torch.manual_seed(1)
    first = first_of(5, source="CPU")
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first_of(5, source="CPU"), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_the_largest_seed_can_be_used(source: str):
    assert torch.isfinite(first_of(2**64 - 1, source=source)).all()


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_ensd_wraps_beyond_the_largest_seed(source: str):
    noise = make_noise(2**64 - 1, source=source, eta_noise_seed_delta=31337)
    noise()
    assert torch.equal(noise(), first_of(31336, source=source))


@pytest.mark.parametrize(("source", "is_same"), [("CPU", True), ("NV", False)])
def test_a_cpus_generator_takes_the_low_32_bits_of_a_seed_and_philox_all(
    source: str, is_same: bool
):
    same = torch.equal(first_of(2**53, source=source), first_of(0, source=source))
    assert same is is_same
    assert torch.equal(first_of(2**64 - 1, source="CPU"), first_of(2**32 - 1, source="CPU"))


# Steps of SDE samplers


def test_the_noise_of_a_step_is_unit_noise():
    noise = make_noise(1, source="CPU", shape=(4, 64, 64))
    for step in ((14.6, 9.1), (0.5, 0.03)):
        assert float(noise.between(*step).std()) == pytest.approx(1, abs=0.03)


def test_the_noise_of_a_step_does_not_depend_on_other_steps():
    fresh, used = make_noise(1, source="CPU"), make_noise(1, source="CPU")
    used.between(14.6, 9.0)
    assert torch.equal(fresh.between(9.0, 5.0), used.between(9.0, 5.0))


def test_two_half_steps_add_up_to_a_whole_step():
    noise = make_noise(1, source="CPU")
    halves = noise.between(9.0, 6.0) * 3**0.5 + noise.between(6.0, 4.0) * 2**0.5
    assert torch.allclose(halves / 5**0.5, noise.between(9.0, 4.0), atol=1e-5)


def test_noise_that_is_drawn_ahead_is_the_same_and_drawn_in_a_thread_of_its_own():
    threads: list[str] = []

    def source(seed: int, device: torch.device) -> Draws:
        threads.append(threading.current_thread().name)
        return NOISE_SOURCES["CPU"](seed, device)

    images = [ImagePlan(0, 7), ImagePlan(1, 8)]
    noise = ImageNoise(images, SHAPE, CPU, NoiseOptions("CPU"), {"CPU": source})
    noise.sigmas = SIGMAS
    steps = list(itertools.pairwise(SIGMAS[:-1]))
    noise.draw_ahead(steps)
    plain = make_noise(7, 8, source="CPU")
    for step in steps:
        assert torch.equal(noise.between(*step), plain.between(*step))
    assert threads
    assert all(name.startswith("noise") for name in threads)


def test_another_step_than_was_foretold_gets_its_own_noise():
    noise, plain = make_noise(7, source="CPU"), make_noise(7, source="CPU")
    noise.draw_ahead([(14.6, 9.0), (9.0, 5.0), (5.0, 3.0)])
    for step in ((14.6, 9.0), (8.0, 4.0), (5.0, 3.0)):
        assert torch.equal(noise.between(*step), plain.between(*step))


@pytest.mark.parametrize("options", [{"source": "NV"}, {"eta_noise_seed_delta": 31337}])
def test_later_noise_that_is_drawn_ahead_is_the_same(options: dict[str, object]):
    noise, plain = make_noise(7, 8, **options), make_noise(7, 8, **options)  # type: ignore[arg-type]
    assert torch.equal(noise(), plain())
    noise.draw_ahead([], 6)
    for _ in range(8):  # two more than were foretold
        assert torch.equal(noise(), plain())


# Variations


def test_the_subseed_strength_interpolates_from_seed_to_subseed():
    seed, subseed = first_of(3, source="CPU"), first_of(1000, source="CPU")
    assert torch.equal(first_of(3, source="CPU", subseed_strength=0.0), seed)
    assert torch.allclose(first_of(3, source="CPU", subseed_strength=1.0), subseed, atol=1e-5)
    half = first_of(3, source="CPU", subseed_strength=0.5)
    assert float(half.std()) == pytest.approx(1, abs=0.15)
    assert float((half - seed).norm()) == pytest.approx(float((half - subseed).norm()), rel=0.1)


def test_angles_are_measured_over_the_height():
    start = torch.tensor([[1.0, 3.0], [0.0, 0.0]])[None]
    end = torch.tensor([[0.0, 0.0], [1.0, 5.0]])[None]
    # Both columns rotate by a right angle, whatever their lengths.
    diagonal = 0.5**0.5
    expected = torch.tensor([[1.0, 3.0], [1.0, 5.0]])[None] * diagonal
    assert torch.allclose(slerp(start, end, 0.5), expected, atol=1e-6)


def test_parallel_noises_are_mixed_with_their_weights_exchanged():
    start = torch.ones(2, 3, 4)
    assert torch.allclose(slerp(start, 2 * start, 0.25), 1.75 * start)


# Seeds of another size


def test_smaller_noise_is_pasted_into_the_center():
    around, noise = torch.zeros(1, 6, 8), torch.ones(1, 2, 3)
    pasted = paste_centered(noise, around)
    assert pasted[0, 2:4, 2:5].tolist() == noise[0].tolist()
    assert float(pasted.sum()) == 6


def test_larger_noise_is_cropped_evenly():
    noise = torch.arange(64.0).reshape(1, 8, 8)
    pasted = paste_centered(noise, torch.zeros(1, 4, 4))
    assert pasted.tolist() == noise[:, 2:6, 2:6].tolist()


def test_an_odd_difference_leaves_a_row_unchanged():
    pasted = paste_centered(torch.ones(1, 7, 7), torch.zeros(1, 4, 4))
    assert pasted[0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_a_resized_seed_has_its_noise_in_the_center_and_the_seeds_noise_around_it():
    small = first_of(3, source="CPU", shape=(4, 4, 6))
    large = first_of(3, source="CPU")
    resized = first_of(3, source="CPU", seed_resize_from=(4, 6))
    assert torch.equal(resized[:, :, 2:6, 1:7], small)
    assert torch.equal(resized[:, :, :2], large[:, :, :2])


def test_a_resized_seed_is_varied_at_its_own_size():
    small = first_of(3, source="CPU", shape=(4, 4, 6), subseed_strength=0.4)
    resized = first_of(3, source="CPU", seed_resize_from=(4, 6), subseed_strength=0.4)
    assert torch.equal(resized[:, :, 2:6, 1:7], small)
