from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.arithmetic import FLOAT64
from modules.sampling.protocol import DEFAULTS, SamplerFn, ZeroNoise, ancestral_step, run_dry
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import K_DIFFUSION, TIMESTEP
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, karras_between
from modules.sampling.solvers.dpmpp import dpmpp_2m
from modules.sampling.solvers.euler import euler, euler_ancestral, restart_steps
from tests.sampling.toy_models import Gaussian, run_sampler, sd1_model_sigmas

DATA = Gaussian(mean=0.3, spread=0.7)
INITIAL_X = np.array([-21.0, -3.0, 0.5, 14.0])
A1111_NAMES = (
    "DPM++ 2M, DPM++ SDE, DPM++ 2M SDE, DPM++ 2M SDE Heun, DPM++ 2S a, DPM++ 3M SDE, Euler a, Euler, LMS, Heun, DPM2, "
    "DPM2 a, DPM fast, DPM adaptive, Restart, DDIM, DDIM CFG++, PLMS, UniPC, LCM"
)
NOT_ADAPTIVE = [row for row in SAMPLERS if not row.is_adaptive]


def karras(steps: int) -> list[float]:
    return SCHEDULES.get("Karras").sigmas(steps, sd1_model_sigmas(), DEFAULTS)


def make_run_sigmas(row: Sampler, steps: int, **options) -> RunSigmas:
    return RunSigmas(
        row,
        SCHEDULES.get(row.default_schedule),
        steps,
        sd1_model_sigmas(),
        SamplingSettings(**options),
    )


def prediction(row: Sampler, value: float) -> float | tuple[float, float]:
    return (value, value) if row.needs_uncond else value


def error_of(run: SamplerFn, steps: int, settings: SamplingSettings = DEFAULTS) -> float:
    """Return the largest distance to the exact solution, down to the smallest trained sigma."""
    sigmas = karras(steps)[:-1]
    exact = DATA.exact(INITIAL_X, sigmas[0], sigmas[-1])
    return float(
        np.abs(
            run_sampler(run, INITIAL_X, sigmas, DATA.denoised, ZeroNoise(), settings) - exact
        ).max()
    )


@pytest.mark.parametrize("name", ["Euler", "Euler a"])
def test_a_step_from_nearly_pure_noise_rounds_as_k_diffusions(name: str):
    """d = (x - denoised) / sigma; x + d * (sigma_next - sigma), in 32 bits: both forms are 1e-3 from the true value."""
    sigma, sigma_next = np.float32(4518.7637), np.float32(11.628353)
    x = np.random.default_rng(0).standard_normal(4096, dtype=np.float32) * sigma
    denoised = np.tanh(x)
    steps = SAMPLERS.get(name).run(
        x, [float(sigma), float(sigma_next)], ZeroNoise(), SamplingSettings(eta_ancestral=0)
    )
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(denoised)
    expected = x + (x - denoised) / sigma * (sigma_next - sigma)
    assert end.value.value.dtype == np.float32
    np.testing.assert_array_equal(end.value.value, expected)


def test_euler_follows_its_formula():
    sigmas = [8.0, 3.0, 1.0, 0.0]
    x = 5.0
    for sigma, sigma_next in [(8.0, 3.0), (3.0, 1.0), (1.0, 0.0)]:
        x = x + (sigma_next - sigma) * (x - DATA.denoised(x, sigma)) / sigma
    assert run_sampler(euler, 5.0, sigmas, DATA.denoised) == pytest.approx(x, rel=1e-12)


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
    assert run_sampler(dpmpp_2m, 5.0, sigmas, DATA.denoised) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(
    "row",
    [row for row in NOT_ADAPTIVE if row.family is K_DIFFUSION and not row.adapt_start],
    ids=lambda row: row.name,
)
def test_a_run_to_zero_ends_on_the_prediction(row: Sampler):
    result = run_sampler(row.run, 9.0, [14.0, 2.0, 0.0], lambda x, sigma: 1.25, ZeroNoise())
    assert result == pytest.approx(1.25, abs=0.6 if row.name == "LMS" else 1e-9)


def test_euler_a_follows_its_formula():
    sigmas, draws = [8.0, 3.0, 1.0, 0.0], [0.4, -1.1]
    x, remaining = 5.0, list(draws)
    for sigma, sigma_next in [(8.0, 3.0), (3.0, 1.0), (1.0, 0.0)]:
        sigma_up = sigma_next * math.sqrt(1 - sigma_next**2 / sigma**2)
        sigma_down = math.sqrt(sigma_next**2 - sigma_up**2)
        x = x + (sigma_down - sigma) * (x - DATA.denoised(x, sigma)) / sigma
        if sigma_next > 0:
            x += remaining.pop(0) * sigma_up
    noise = iter(draws)
    result = run_sampler(euler_ancestral, 5.0, sigmas, DATA.denoised, lambda: next(noise))
    assert result == pytest.approx(x, rel=1e-12)
    assert list(noise) == [], "the last step adds no noise"


def test_euler_a_keeps_the_distribution_of_the_data():
    rng = np.random.default_rng(3)
    sigmas = karras(150)
    count = 100_000
    start = DATA.mean + math.hypot(sigmas[0], DATA.spread) * rng.standard_normal(count)
    result = run_sampler(
        euler_ancestral, start, sigmas, DATA.denoised, lambda: rng.standard_normal(count)
    )
    assert result.mean() == pytest.approx(DATA.mean, abs=0.02)
    assert result.std() == pytest.approx(DATA.spread, rel=0.03)


@pytest.mark.parametrize(("sigma", "sigma_next"), [(8, 3), (1, 0.9), (14, 0.001), (2, 0)])
def test_an_ancestral_step_renews_noise_without_changing_its_amount(
    sigma: float, sigma_next: float
):
    sigma_down, sigma_up = ancestral_step(sigma, sigma_next)
    assert sigma_down**2 + sigma_up**2 == pytest.approx(sigma_next**2)
    assert sigma_up == pytest.approx(sigma_next * math.sqrt(1 - sigma_next**2 / sigma**2))


@pytest.mark.parametrize(
    "name", ["Heun", "DPM2", "DPM++ 2S a", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "LMS"]
)
def test_a_sampler_without_noise_converges_with_second_order(name: str):
    run = SAMPLERS.get(name).run
    errors = [error_of(run, steps, SamplingSettings(eta_ancestral=0)) for steps in (40, 80)]
    assert errors[0] / errors[1] > 3


def test_a_third_prediction_makes_dpmpp_3m_sde_more_accurate():
    without_noise = SamplingSettings(eta_ancestral=0)
    third, second = (
        error_of(SAMPLERS.get(f"DPM++ {n}M SDE").run, 40, without_noise) for n in (3, 2)
    )
    assert third < second / 2


@pytest.mark.parametrize("name", ["DPM fast", "UniPC", "DPM adaptive"])
def test_a_sampler_with_its_own_sigmas_is_near_the_exact_solution(name: str):
    row = SAMPLERS.get(name)
    start = make_run_sigmas(row, 30).from_noise()
    result = run_sampler(
        row.run,
        INITIAL_X,
        start.sigmas,
        DATA.denoised,
        ZeroNoise(),
        SamplingSettings(eta_ancestral=0),
    )
    if row.family is TIMESTEP:
        result = result * math.hypot(1, start.sigmas[-1])
    exact = DATA.exact(INITIAL_X, start.sigmas[0], start.sigmas[-1])
    assert np.abs(result - exact).max() < 0.05


@pytest.mark.parametrize(
    ("name", "steps", "evaluations"),
    [
        ("Euler", 20, 20),
        ("LCM", 8, 8),
        ("Heun", 20, 39),
        ("DPM2", 20, 39),
        ("DPM++ 2S a", 20, 39),
        ("DPM++ SDE", 20, 39),
        ("DPM fast", 20, 20),
        ("DPM fast", 7, 7),
        ("DPM fast", 3, 3),
        ("DPM fast", 1, 1),
        ("Restart", 10, 19),
        ("Restart", 20, 39),
        ("Restart", 40, 79),
        ("DDIM", 20, 19),
        ("DDIM", 30, 30),
        ("DDIM CFG++", 20, 19),
        ("PLMS", 20, 20),
        ("UniPC", 20, 20),
        ("UniPC", 30, 31),
        ("UniPC", 2, 2),
    ],
)
def test_a_run_evaluates_the_network_as_often_as_in_a1111(name: str, steps: int, evaluations: int):
    row = SAMPLERS.get(name)
    assert (
        len(
            run_dry(
                row.run,
                make_run_sigmas(row, steps).from_noise().sigmas,
                denoised=prediction(row, 0.0),
            ).sigmas
        )
        == evaluations
    )


@pytest.mark.parametrize("row", NOT_ADAPTIVE, ids=lambda row: row.name)
def test_the_dry_run_visits_what_the_run_visits(row: Sampler):
    run_sigmas = make_run_sigmas(row, 7, s_churn=2.0, eta_ddim=0.5)
    visited: list[float] = []

    def denoiser(x: float, sigma: float) -> float | tuple[float, float]:
        visited.append(sigma)
        return prediction(row, 0.1 * x)

    sigmas, noise = run_sigmas.from_noise().sigmas, CountingNoise()
    run_sampler(row.run, 3.0, sigmas, denoiser, noise, run_sigmas.settings)
    expected = run_dry(row.run, sigmas, run_sigmas.settings, prediction(row, 0.0))
    assert visited == expected.sigmas
    assert noise.count == expected.draws
    assert noise.between_count == len(expected.intervals)


class CountingNoise:
    """Constant noise that counts its draws."""

    arithmetic = FLOAT64

    def __init__(self) -> None:
        self.count = self.between_count = 0

    def __call__(self) -> float:
        self.count += 1
        return 0.5

    def between(self, sigma: float, sigma_next: float) -> float:
        assert sigma > sigma_next > 0
        self.between_count += 1
        return 0.5


@pytest.mark.parametrize("row", NOT_ADAPTIVE, ids=lambda row: row.name)
def test_a_sampler_is_affected_by_exactly_the_options_it_lists(row: Sampler):
    def result(**options: float) -> tuple[float, int, int]:
        run_sigmas, noise = make_run_sigmas(row, 20, **options), CountingNoise()
        x = run_sampler(
            row.run,
            3.0,
            run_sigmas.from_noise().sigmas,
            lambda x, _: prediction(row, math.tanh(x)),
            noise,
            run_sigmas.settings,
        )
        return x, noise.count, noise.between_count

    changes = {
        "eta_ancestral": {"eta_ancestral": 0.5},
        "eta_ddim": {"eta_ddim": 0.5},
        "s_churn": {"s_churn": 5.0},
        "uni_pc_variant": {"uni_pc_variant": "bh2"},
        "uni_pc_skip_type": {"uni_pc_skip_type": "logSNR"},
        "uni_pc_order": {"uni_pc_order": 2},
        "uni_pc_lower_order_final": {"uni_pc_lower_order_final": False},
    }
    effective = {name for name, change in changes.items() if result(**change) != result()}
    assert effective == {*row.options} & {*changes}
    assert (result(s_churn=5.0, s_noise=0.9) != result(s_churn=5.0)) == ("s_noise" in row.options)
    draws = result(s_churn=5.0, eta_ddim=0.5)[1] > 0
    assert draws == ("eta_noise_seed_delta" in row.options) or row.name == "Restart"
    assert (result()[2] > 0) == row.uses_brownian_noise


def test_churn_draws_noise_at_every_step():
    noise = CountingNoise()
    run_sampler(
        euler,
        3.0,
        karras(10),
        DATA.denoised,
        noise,
        SamplingSettings(s_churn=1, s_tmin=1, s_tmax=2),
    )
    assert noise.count == 10
    run_sampler(euler, 3.0, karras(10), DATA.denoised, noise, SamplingSettings(s_tmin=1, s_tmax=2))
    assert noise.count == 10, "without churn no noise is drawn"


def test_restarts_are_those_of_a1111():
    assert restart_steps(karras(19)) == list(itertools.pairwise(karras(19)))
    steps = restart_steps(karras(20))
    assert len(steps) == 20
    assert [steps[0][0], steps[-1][1]] == [karras(20)[0], 0]
    jumps = [
        (before[1], after[0]) for before, after in itertools.pairwise(steps) if after[0] > before[1]
    ]
    main_sigmas = karras_between(11, karras(20)[-2], karras(20)[0])
    assert jumps == [
        (
            min(main_sigmas, key=lambda s: abs(s - 0.1)),
            min(main_sigmas, key=lambda s: abs(s - 2)),
        )
    ]
    assert len(restart_steps(karras(40))) == 40
    assert (
        sum(after[0] > before[1] for before, after in itertools.pairwise(restart_steps(karras(40))))
        == 2
    )


def test_the_samplers_are_a1111s_in_its_order():
    assert ", ".join(row.name for row in SAMPLERS) == A1111_NAMES


@pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)
def test_automatic_resolves_to_a_schedule_with_sigmas(row: Sampler):
    assert SCHEDULES.get(row.default_schedule).sigmas is not None


def test_automatic_resolves_as_in_a1111():
    by_schedule = {
        schedule: {row.name for row in SAMPLERS if row.default_schedule == schedule}
        for schedule in ("Karras", "Exponential")
    }
    assert by_schedule == {
        "Karras": {"DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"},
        "Exponential": {"DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"},
    }


def test_sampler_properties_are_those_of_a1111():
    assert {row.name for row in SAMPLERS if row.evaluations_per_step == 2} == {
        *("DPM++ SDE", "DPM++ 2S a", "Heun", "DPM2", "DPM2 a", "Restart"),
    }
    assert {row.name for row in SAMPLERS if row.discards_next_to_last_sigma} == {
        "DPM++ 3M SDE",
        "DPM2",
        "DPM2 a",
    }
    assert {row.name for row in SAMPLERS if row.family is TIMESTEP} == {
        "DDIM",
        "DDIM CFG++",
        "PLMS",
        "UniPC",
    }


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("k_euler", "Euler"),
        ("k_euler_a", "Euler a"),
        ("k_euler_ancestral", "Euler a"),
        ("k_dpmpp_2m", "DPM++ 2M"),
        ("k_dpm_ad", "DPM adaptive"),
        ("unipc", "UniPC"),
        ("k_dpm_2_a", "DPM2 a"),
    ],
)
def test_a_sampler_is_found_by_a1111s_aliases(alias: str, name: str):
    assert SAMPLERS.get(alias).name == name


def test_dpm_adaptive_ends_when_the_network_overflows():
    row = SAMPLERS.get("DPM adaptive")
    result = run_sampler(
        row.run,
        INITIAL_X,
        make_run_sigmas(row, 10).from_noise().sigmas,
        lambda x, sigma: x * math.nan,
        ZeroNoise(),
    )
    assert np.isnan(result).all()
