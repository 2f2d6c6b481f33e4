from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.backend.noise.image_noise import FoundNoise, find_noise, mix_noise
from modules.backend.noise.noise import ImageNoise, NoiseOptions
from modules.plan.plan import ImagePlan

CPU = NoiseOptions("CPU")
LATENTS = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7)) * 0.5
IMAGES = (ImagePlan(0, 5), ImagePlan(1, 6))


def of_unit_noise(x: Tensor, sigma: float, index: int) -> Tensor:
    """Return x0 where every image is unit noise itself: then the path to noise is x * sqrt(1 + sigma ** 2)."""
    del index
    return x / (1 + sigma**2)


def falling(count: int) -> list[float]:
    return [14.6 * (1 - step / count) ** 3 for step in range(count + 1)]


@pytest.mark.parametrize("adjusts_sigma", [False, True])
def test_the_noise_of_an_image_leads_back_to_it(adjusts_sigma: bool):
    sigmas = falling(2000)
    noise = find_noise(LATENTS, sigmas, of_unit_noise, adjusts_sigma=adjusts_sigma)
    scaled = LATENTS * (1 + sigmas[0] ** 2) ** 0.5 / sigmas[0]
    expected = scaled if adjusts_sigma else LATENTS / LATENTS.std()
    assert torch.allclose(noise, expected, rtol=0.02, atol=1e-3)


def test_evaluations_count_as_on_the_way_back_and_the_first_adjusted_one_is_left_out():
    seen: list[tuple[float, int]] = []

    def denoise(x: Tensor, sigma: float, index: int) -> Tensor:
        seen.append((sigma, index))
        return x * 0.5

    find_noise(LATENTS, [9.0, 3.0, 1.0, 0.0], denoise, adjusts_sigma=False)
    assert seen == [(1.0, 2), (3.0, 1), (9.0, 0)]
    seen.clear()
    find_noise(LATENTS, [9.0, 3.0, 1.0, 0.0], denoise, adjusts_sigma=True)
    assert seen == [(1.0, 1), (3.0, 0)]


def test_mixed_noise_keeps_its_deviation():
    drawn, found = torch.randn((2, 1, 4, 64, 64), generator=torch.Generator().manual_seed(1))
    assert torch.equal(mix_noise(found, drawn, 0), found)
    assert torch.equal(mix_noise(found, drawn, 1), drawn)
    assert float(mix_noise(found, drawn, 0.3).std()) == pytest.approx(1, abs=0.02)


def test_the_found_noise_comes_first_and_what_is_drawn_after_it():
    found = torch.ones((1, 4, 8, 8))
    noise = FoundNoise(IMAGES, LATENTS, found, 2.0, CPU)
    drawn = ImageNoise(IMAGES, (4, 8, 8), torch.device("cpu"), CPU)
    first = noise()
    assert first.shape == (2, 4, 8, 8)
    assert torch.allclose((LATENTS + first * 2.0), (found * 2.0).expand(2, -1, -1, -1))
    assert torch.equal(noise(), drawn())
    mixed = FoundNoise(IMAGES, LATENTS, found, 2.0, CPU, randomness=1.0)()
    fresh = ImageNoise(IMAGES, (4, 8, 8), torch.device("cpu"), CPU)()
    assert torch.allclose(mixed, fresh - LATENTS / 2.0)
