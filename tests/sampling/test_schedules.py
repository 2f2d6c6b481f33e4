"""The numbers are those of A1111 1.10.1 on SD 1.x's noise levels, measured."""

from __future__ import annotations

import itertools

import pytest

from modules.sampling.schedules import SCHEDULES, Schedule, ddim_timesteps, karras, uniform
from tests.sampling.levels import sd1_levels

UNIFORM = [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0]
KARRAS = [14.6146, 9.1029, 5.4784, 3.1686, 1.7494, 0.9141, 0.4469, 0.2014, 0.0819, 0.0292, 0]
DDIM = [8.3907, 5.1344, 3.3478, 2.2929, 1.6237, 1.1682, 0.8357, 0.5741, 0.3462, 0.0413]
WALKED = [row for row in SCHEDULES if row.sigmas is not None]


def test_uniform_is_spread_evenly_over_timesteps():
    assert uniform(10, sd1_levels()) == pytest.approx(UNIFORM, abs=6e-5)


def test_karras_is_the_published_curve():
    assert karras(10, sd1_levels()) == pytest.approx(KARRAS, abs=6e-5)


def test_ddim_takes_every_hundredth_timestep_plus_one_for_ten_steps():
    levels = sd1_levels()
    assert ddim_timesteps(10, levels) == pytest.approx(DDIM, abs=6e-5)
    timesteps = [levels.timestep_at(sigma) for sigma in ddim_timesteps(10, levels)]
    assert timesteps == pytest.approx([901, 801, 701, 601, 501, 401, 301, 201, 101, 1])


@pytest.mark.parametrize(
    ("steps", "levels"), [(2, 2), (10, 10), (20, 20), (30, 31), (150, 167), (600, 1000), (1000, 1000)]
)
def test_ddim_visits_as_many_levels_as_its_stride_leaves(steps: int, levels: int):
    assert len(ddim_timesteps(steps, sd1_levels())) == levels


@pytest.mark.parametrize("row", WALKED, ids=lambda row: row.name)
@pytest.mark.parametrize("steps", [1, 2, 20, 150, 1000])
def test_a_schedule_falls_from_the_largest_level_to_zero(row: Schedule, steps: int):
    levels = sd1_levels()
    sigmas = row.sigmas(steps, levels) if row.sigmas else []
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(levels.largest)
    assert sigmas[-1] == 0
    assert all(sigma > below for sigma, below in itertools.pairwise(sigmas))
    assert all(type(sigma) is float for sigma in sigmas)


@pytest.mark.parametrize("name", ["automatic", "uniform", "karras"])
def test_a_schedule_answers_to_the_name_in_the_api(name: str):
    assert SCHEDULES.get(name).name.lower() == name


def test_only_automatic_has_no_levels_of_its_own():
    assert [row.name for row in SCHEDULES if row.sigmas is None] == ["Automatic"]
