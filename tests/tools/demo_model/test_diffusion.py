"""The equations agree with each other."""

import pytest
import torch

from tools.demo_model.diffusion import PURE_NOISE_FROM, DiffusionProcess
from tools.demo_model.objectives import OBJECTIVES


def noise(seed, count=4):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_many_small_steps_keep_as_much_as_one_jump():
    process = DiffusionProcess()
    x = torch.ones(1, 4, 8, 8)
    for step in range(301):
        x = process.forward_step(x, torch.tensor([step]), torch.zeros_like(x))
    jump = process.forward_jump(
        torch.ones(1, 4, 8, 8), torch.tensor([300]), torch.zeros(1, 4, 8, 8)
    )
    assert torch.allclose(x, jump, atol=1e-4)


def test_the_velocity_gives_the_clean_latent_back():
    process, x0, t = DiffusionProcess(), noise(0), torch.tensor([0, 300, 700, 999])
    x = process.forward_jump(x0, t, noise(1))
    assert torch.allclose(process.denoised(x, t, process.velocity(x0, t, noise(1))), x0, atol=1e-4)


def test_the_last_reverse_step_returns_the_clean_latent():
    process, x0, t = DiffusionProcess(), noise(0, 1), torch.tensor([0])
    assert torch.allclose(process.reverse_step(noise(1, 1), t, x0, noise(2, 1)), x0, atol=1e-3)


def test_a_reverse_step_has_the_variance_of_the_forward_process():
    process, t = DiffusionProcess(), torch.full((256,), 500)
    x0 = torch.zeros(256, 4, 8, 8)
    x = process.forward_jump(x0, t, noise(1, 256))
    before = process.reverse_step(x, t, x0, noise(2, 256))
    expected = (1 - process.alphas_cumprod[499]).sqrt()
    assert torch.isclose(before.std(), expected, rtol=0.02)


def test_training_pairs_spread_their_timesteps_evenly():
    process = DiffusionProcess()
    sample = process.noisy_sample(noise(0, 10), torch.Generator().manual_seed(0))
    assert sorted((sample.t // 100).tolist()) == list(range(10))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_a_right_answer_gives_the_clean_latent_back(name):
    process, objective = DiffusionProcess(), OBJECTIVES[name]
    sample = process.noisy_sample(noise(0, 10), torch.Generator().manual_seed(0))
    known = sample.t < PURE_NOISE_FROM  # beyond, half of the samples hide the clean latent
    answer = objective.target(process, sample)
    x0 = objective.denoised(process, sample.x, sample.t, answer)
    assert torch.allclose(x0[known], sample.x0[known], atol=1e-4)


def test_a_scaled_error_of_the_noise_is_the_error_of_the_velocity():
    process, t = DiffusionProcess(), torch.tensor([0, 300, 700])
    x0, x, wrong = noise(0, 3), noise(1, 3), 0.1 * noise(2, 3)
    by_noise = process.noise_between(x0, x, t)
    x0_wrong = process.denoised_by_noise(x, t, by_noise + wrong)
    velocity, velocity_wrong = (
        process.velocity(clean, t, process.noise_between(clean, x, t)) for clean in (x0, x0_wrong)
    )
    scaled = wrong * OBJECTIVES["eps"].scale(process, t)
    assert torch.allclose(velocity_wrong - velocity, scaled, rtol=1e-3, atol=1e-4)
