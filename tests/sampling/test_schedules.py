"""The numbers were measured in A1111 1.10.1 with SD 1.x's sigmas."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import DEFAULTS
from modules.sampling.schedules import SCHEDULES, Schedule
from tests.sampling.toy_models import sd1_model_sigmas

SD1 = sd1_model_sigmas()
UNIFORM = "14.6146 7.8399 4.6092 2.9183 1.9502 1.3449 0.9324 0.6250 0.3687 0.0292 0"
EXPONENTIAL = "14.6146 7.3249 3.6712 1.8400 0.9222 0.4622 0.2317 0.1161 0.0582 0.0292 0"
MEASURED = {
    "Uniform": UNIFORM,
    "Normal": UNIFORM,
    "Karras": "14.6146 9.1029 5.4784 3.1686 1.7494 0.9141 0.4469 0.2014 0.0819 0.0292 0",
    "Exponential": EXPONENTIAL,
    "Polyexponential": EXPONENTIAL,
    "SGM Uniform": "14.6146 8.3072 5.0924 3.3251 2.2797 1.6156 1.1629 0.8319 0.5712 0.3437 0",
    "Simple": "14.6146 8.3028 5.0878 3.3211 2.2765 1.6129 1.1606 0.8299 0.5693 0.3417 0",
    "DDIM": "8.3907 5.1344 3.3478 2.2929 1.6237 1.1682 0.8357 0.5741 0.3462 0.0413 0",
    "KL Optimal": "14.6146 4.5650 2.6329 1.7864 1.2948 0.9616 0.7116 0.5094 0.3356 0.1783 0.0292",
    "Align Your Steps": "14.6150 6.1135 3.5651 2.3939 1.6500 1.1358 0.7425 0.4450 0.1692 0.0290 0",
    "Beta": "14.6146 13.9278 12.4910 10.5976 8.4424 6.2014 4.0462 2.1528 0.7160 0.0292 0",
}
WITH_SIGMAS = [row for row in SCHEDULES if row.sigmas]


def sigmas_of(name: str, steps: int = 10, **options) -> list[float]:
    row = SCHEDULES.get(name)
    assert row.sigmas is not None
    return row.sigmas(steps, SD1, SamplingSettings(**options))


def test_schedules_have_a1111s_order_and_names():
    names = "automatic uniform karras exponential polyexponential sgm_uniform kl_optimal align_your_steps"
    assert [row.api_name for row in SCHEDULES] == [
        *names.split(),
        "simple",
        "normal",
        "ddim",
        "beta",
    ]
    assert all(SCHEDULES.get(row.api_name) is row for row in SCHEDULES)
    assert SCHEDULES.get("SGMUniform").name == "SGM Uniform"
    assert [row.name for row in SCHEDULES if row.sigmas is None] == ["Automatic"]


@pytest.mark.parametrize("name", MEASURED)
def test_a_schedule_of_ten_steps_matches_a1111(name: str):
    assert sigmas_of(name) == pytest.approx(
        [float(number) for number in MEASURED[name].split()], abs=6e-5
    )


def test_every_schedule_is_measured():
    assert {*MEASURED} == {row.name for row in WITH_SIGMAS}


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 400), row=st.sampled_from(WITH_SIGMAS))
def test_a_schedule_falls_within_the_models_range(steps: int, row: Schedule):
    assert row.sigmas is not None
    sigmas = row.sigmas(steps, SD1, DEFAULTS)
    assert len(sigmas) == steps + 1 or row.name == "DDIM"
    assert all(type(sigma) is float for sigma in sigmas)
    assert all(sigma > below for sigma, below in itertools.pairwise(sigmas))
    assert sigmas[0] <= SD1.sigma_max * 1.0001
    assert sigmas[-1] == (pytest.approx(SD1.sigma_min) if row.name == "KL Optimal" else 0)


@pytest.mark.parametrize(
    ("steps", "count"), [(2, 2), (10, 10), (20, 20), (30, 31), (150, 167), (600, 999)]
)
def test_ddim_visits_every_stride_th_sigma(steps: int, count: int):
    assert len(sigmas_of("DDIM", steps)) == count + 1


def test_eleven_steps_are_the_published_sigmas_of_align_your_steps():
    assert sigmas_of("Align Your Steps", 11)[:3] == pytest.approx([14.615, 6.475, 3.861])


def test_align_your_steps_has_the_published_sigmas_of_sdxl_for_it():
    row = SCHEDULES.get("Align Your Steps").for_sdxl()
    assert row.sigmas is not None
    expected = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029, 0]
    assert row.sigmas(11, SD1, SamplingSettings()) == pytest.approx(expected)
    assert SCHEDULES.get("Karras").for_sdxl() is SCHEDULES.get("Karras")


@settings(max_examples=40, deadline=None)
@given(
    sigma_min=st.floats(0.03, 1),
    sigma_max=st.floats(1.5, 14),
    name=st.sampled_from(
        ["Karras", "Exponential", "Polyexponential", "SGM Uniform", "KL Optimal", "Normal", "Beta"]
    ),
)
def test_sigma_min_and_sigma_max_set_the_range(sigma_min: float, sigma_max: float, name: str):
    sigmas = sigmas_of(name, sigma_min=sigma_min, sigma_max=sigma_max)
    assert sigmas[0] == pytest.approx(sigma_max, rel=1e-6)
    smallest = sigmas[-1] or sigmas[-2]
    assert smallest == pytest.approx(sigma_min, rel=1e-6) or (
        name == "SGM Uniform" and smallest > sigma_min
    )


@pytest.mark.parametrize("row", WITH_SIGMAS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    "change",
    [
        {"sigma_min": 0.5},
        {"sigma_max": 5.0},
        {"rho": 3.0},
        {"use_old_karras_scheduler_sigmas": True},
        {"beta_dist_alpha": 2.0},
        {"beta_dist_beta": 2.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_schedule_is_affected_by_exactly_the_options_it_lists(row: Schedule, change: dict):
    changed = sigmas_of(row.name, **change) != sigmas_of(row.name)
    assert changed == (next(iter(change)) in row.options)


def test_rho_changes_the_curvature():
    assert sigmas_of("Karras", rho=7) == sigmas_of("Karras")
    assert sigmas_of("Polyexponential", rho=1) == sigmas_of("Polyexponential")
    middle = math.exp((1 / 4) * math.log(SD1.sigma_max / SD1.sigma_min) + math.log(SD1.sigma_min))
    assert sigmas_of("Polyexponential", 3, rho=2)[1] == pytest.approx(middle)


def test_the_old_range_of_karras():
    sigmas = sigmas_of("Karras", use_old_karras_scheduler_sigmas=True)
    assert (sigmas[0], sigmas[-2]) == pytest.approx((10, 0.1))
