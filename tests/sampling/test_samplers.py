from __future__ import annotations

import math

import numpy as np
import pytest

from modules.sampling.samplers import (
    SAMPLERS,
    Sampler,
    ancestral_step,
    ddim,
    dpmpp_2m,
    euler,
    euler_ancestral,
)
from modules.sampling.schedules import SCHEDULES, ddim_timesteps, karras
from modules.sampling.walk import SamplerFn, visited_levels
from tests.sampling.levels import Gaussian, drive, sd1_levels

DATA = Gaussian(mean=0.3, spread=0.7)
STARTS = np.array([-21.0, -3.0, 0.5, 14.0])


def error_of(run: SamplerFn, steps: int) -> float:
    """Return the largest distance to the exact walk, down to the smallest trained level."""
    sigmas = karras(steps, sd1_levels())[:-1]
    exact = DATA.walked(STARTS, sigmas[0], sigmas[-1])
    return float(np.abs(drive(run, STARTS, sigmas, DATA.denoised) - exact).max())


def test_euler_follows_its_formula():
    sigmas = [8.0, 3.0, 1.0, 0.0]
    x = 5.0
    for sigma, sigma_next in [(8.0, 3.0), (3.0, 1.0), (1.0, 0.0)]:
        x = x + (sigma_next - sigma) * (x - DATA.denoised(x, sigma)) / sigma
    assert drive(euler, 5.0, sigmas, DATA.denoised) == pytest.approx(x, rel=1e-12)


def test_euler_converges_with_first_order():
    errors = [error_of(euler, steps) for steps in (40, 80, 160)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_dpmpp_2m_converges_with_second_order():
    errors = [error_of(dpmpp_2m, steps) for steps in (40, 80, 160)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.2)
    assert errors[0] < error_of(euler, 40) / 5


def test_dpmpp_2m_follows_the_published_recursion():
    """Written as in k-diffusion, over t = -log(sigma)."""
    sigmas = [14.0, 6.0, 2.5, 0.9, 0.2, 0.0]
    x, old_denoised = 5.0, 0.0
    for i in range(5):
        denoised = DATA.denoised(x, sigmas[i])
        t = -math.log(sigmas[i])
        t_next = -math.log(sigmas[i + 1]) if sigmas[i + 1] else math.inf
        h = t_next - t
        if i == 0 or sigmas[i + 1] == 0:
            x = sigmas[i + 1] / sigmas[i] * x - math.expm1(-h) * denoised
        else:
            r = (t + math.log(sigmas[i - 1])) / h
            denoised_d = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * old_denoised
            x = sigmas[i + 1] / sigmas[i] * x - math.expm1(-h) * denoised_d
        old_denoised = denoised
    assert drive(dpmpp_2m, 5.0, sigmas, DATA.denoised) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("run", [euler, dpmpp_2m])
def test_a_walk_to_zero_ends_on_the_prediction(run: SamplerFn):
    assert drive(run, 9.0, [14.0, 2.0, 0.0], lambda x, sigma: 1.25) == pytest.approx(1.25)


def test_euler_a_follows_its_formula():
    sigmas, draws = [8.0, 3.0, 1.0, 0.0], [0.4, -1.1]
    x, given = 5.0, list(draws)
    for sigma, sigma_next in [(8.0, 3.0), (3.0, 1.0), (1.0, 0.0)]:
        up = sigma_next * math.sqrt(1 - sigma_next**2 / sigma**2)
        down = math.sqrt(sigma_next**2 - up**2)
        x = x + (down - sigma) * (x - DATA.denoised(x, sigma)) / sigma
        if sigma_next > 0:
            x += given.pop(0) * up
    noise = iter(draws)
    result = drive(euler_ancestral, 5.0, sigmas, DATA.denoised, lambda: next(noise))
    assert result == pytest.approx(x, rel=1e-12)
    assert list(noise) == [], "the last step adds no noise"


def test_euler_a_keeps_the_distribution_of_the_data():
    draw = np.random.default_rng(3)
    sigmas = karras(150, sd1_levels())
    count = 100_000
    start = DATA.mean + math.hypot(sigmas[0], DATA.spread) * draw.standard_normal(count)
    result = drive(euler_ancestral, start, sigmas, DATA.denoised, lambda: draw.standard_normal(count))
    assert result.mean() == pytest.approx(DATA.mean, abs=0.02)
    assert result.std() == pytest.approx(DATA.spread, rel=0.03)


@pytest.mark.parametrize(("sigma", "sigma_next"), [(8, 3), (1, 0.9), (14, 0.001), (2, 0)])
def test_an_ancestral_step_renews_noise_without_changing_its_amount(sigma: float, sigma_next: float):
    down, up = ancestral_step(sigma, sigma_next)
    assert down**2 + up**2 == pytest.approx(sigma_next**2)
    assert up == pytest.approx(sigma_next * math.sqrt(1 - sigma_next**2 / sigma**2))


def test_ddim_is_the_textbook_update_in_variance_preserving_form():
    levels = sd1_levels()
    sigmas = ddim_timesteps(20, levels)
    alphas = [1 / (1 + sigma**2) for sigma in sigmas]
    unit = np.array([-1.3, 0.2, 2.0])
    x = unit  # sqrt(alpha) data + sqrt(1 - alpha) noise
    for sigma, alpha, alpha_next in zip(sigmas, alphas, alphas[1:], strict=False):
        data = DATA.denoised(x / math.sqrt(alpha), sigma)
        noise = (x - math.sqrt(alpha) * data) / math.sqrt(1 - alpha)
        x = math.sqrt(alpha_next) * data + math.sqrt(1 - alpha_next) * noise
    start = unit * SAMPLERS.get("DDIM").first_scale(sigmas[0])
    assert drive(ddim, start, sigmas, DATA.denoised) == pytest.approx(x, rel=1e-9)


def test_twenty_steps_of_ddim_are_nineteen_evaluations():
    sigmas = ddim_timesteps(20, sd1_levels())
    assert visited_levels(ddim, sigmas) == sigmas[:-1]
    assert len(visited_levels(ddim, sigmas)) == 19


@pytest.mark.parametrize("row", [row for row in SAMPLERS if not row.own_sigmas], ids=lambda row: row.name)
def test_a_sampler_of_one_evaluation_a_step_visits_each_level_but_the_end(row: Sampler):
    sigmas = karras(12, sd1_levels())
    assert visited_levels(row.run, sigmas) == sigmas[:-1]


@pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)
def test_the_dry_run_visits_what_the_run_visits(row: Sampler):
    sigmas = (row.own_sigmas or karras)(7, sd1_levels())
    seen: list[float] = []

    def denoiser(x: float, sigma: float) -> float:
        seen.append(sigma)
        return 0.1 * x

    drive(row.run, 3.0, sigmas, denoiser, lambda: 0.5)
    assert seen == visited_levels(row.run, sigmas)


@pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)
def test_automatic_stands_for_a_schedule_with_levels(row: Sampler):
    assert SCHEDULES.get(row.automatic).sigmas is not None


@pytest.mark.parametrize(
    ("name", "automatic"),
    [("DPM++ 2M", "Karras"), ("Euler a", "Uniform"), ("Euler", "Uniform"), ("DDIM", "Uniform")],
)
def test_automatic_means_what_it_means_in_a1111(name: str, automatic: str):
    assert SAMPLERS.get(name).automatic == automatic


def test_k_diffusion_samplers_start_from_noise_times_sigma():
    assert SAMPLERS.get("Euler").first_scale(14.6) == 14.6
    assert SAMPLERS.get("DDIM").first_scale(2.0) == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize(
    ("alias", "name"),
    [("k_euler", "Euler"), ("k_euler_a", "Euler a"), ("k_euler_ancestral", "Euler a"), ("k_dpmpp_2m", "DPM++ 2M")],
)
def test_a_sampler_answers_to_a1111s_aliases(alias: str, name: str):
    assert SAMPLERS.get(alias).name == name
