import math

import pytest

from modules.sampling.part_way import begin, begin_ddim
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import ddim_timesteps, karras
from modules.sampling.walk import visited_levels
from tests.sampling.levels import sd1_levels

SD1 = sd1_levels()
WHOLE = karras(20, SD1)
DDIM = ddim_timesteps(20, SD1)


@pytest.mark.parametrize(
    ("strength", "updates"), [(0.75, 16), (0.5, 11), (0.3, 7), (1.0, 20), (0.0, 1), (0.04, 1), (0.05, 2)]
)
def test_twenty_steps_are_cut_as_in_a1111(strength: float, updates: int):
    start = begin(WHOLE, 20, strength)
    assert start.update_count == updates
    assert len(visited_levels(SAMPLERS.get("Euler").run, start.sigmas)) == updates
    assert start.sigmas == tuple(WHOLE[-updates - 1 :])
    assert start.noised_to == start.sigmas[0]
    assert start.scale == 1


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_a_full_strength_keeps_every_step(steps: int):
    assert begin(karras(steps, SD1), steps, 1.0).sigmas == tuple(karras(steps, SD1))


@pytest.mark.parametrize(
    ("strength", "noised_to", "first", "updates"),
    [(0.75, 751, 701, 14), (0.5, 501, 451, 9), (1.0, 951, 901, 18), (0.1, 101, 51, 1)],
)
def test_ddim_noises_to_the_timestep_before_its_first(strength, noised_to, first, updates):
    start = begin_ddim(DDIM, 20, strength)
    assert SD1.timestep_at(start.noised_to) == pytest.approx(noised_to)
    assert SD1.timestep_at(start.sigmas[0]) == pytest.approx(first)
    assert SD1.timestep_at(start.sigmas[-1]) == pytest.approx(1)
    assert start.update_count == updates


@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_ddim_makes_no_update_at_a_small_strength(strength: float):
    assert begin_ddim(DDIM, 20, strength).update_count == 0


def test_ddim_takes_the_noised_picture_for_one_of_its_first_level():
    """In its variance-preserving form: sqrt(a) x + sqrt(1 - a) noise with a of the level noised to."""
    start = begin_ddim(DDIM, 20, 0.75)
    share = 1 / (1 + start.noised_to**2)
    first_share = 1 / (1 + start.sigmas[0] ** 2)
    assert start.scale * math.sqrt(first_share) == pytest.approx(math.sqrt(share))


def test_only_ddim_begins_in_its_own_way():
    assert {row.name for row in SAMPLERS if row.begin is begin_ddim} == {"DDIM"}
    assert {row.begin for row in SAMPLERS if row.own_sigmas is None} == {begin}
