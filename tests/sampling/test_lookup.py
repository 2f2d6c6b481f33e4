from __future__ import annotations

import pytest

from modules.core.errors import NotFound
from modules.sampling.lookup import find_sampler_and_schedule, split_sampler_name
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DPM++ 2M Karras", ("DPM++ 2M", "Karras")),
        ("dpm++ 2m sde exponential", ("DPM++ 2M SDE", "Exponential")),
        ("DPM++ 2M SDE Heun Karras", ("DPM++ 2M SDE Heun", "Karras")),
        ("DPM++ 2M SGM Uniform", ("DPM++ 2M", "SGM Uniform")),
        ("DPM2 a Karras", ("DPM2 a", "Karras")),
        ("DPM++ 2M", ("DPM++ 2M", "")),
        (" euler a ", ("Euler a", "")),
    ],
)
def test_an_old_sampler_name_is_split_into_sampler_and_schedule(
    name: str, expected: tuple[str, str]
):
    assert split_sampler_name(name, SAMPLERS.names(), SCHEDULES.names()) == expected


@pytest.mark.parametrize("name", ["Euler b", "Eulr Karras", "Karras", "k_euler_a", ""])
def test_an_unknown_name_is_returned_unsplit(name: str):
    assert split_sampler_name(name, SAMPLERS.names(), SCHEDULES.names()) == (name, "")


@pytest.mark.parametrize(
    ("name", "scheduler", "expected"),
    [
        ("DPM++ 2M Karras", "Automatic", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "Exponential", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M sgm_uniform", "Automatic", ("DPM++ 2M", "SGM Uniform")),
        ("k_dpmpp_2m", "align_your_steps", ("DPM++ 2M", "Align Your Steps")),
        ("DDIM", "karras", ("DDIM", "Karras")),
    ],
)
def test_rows_are_found_as_in_a1111(name: str, scheduler: str, expected: tuple[str, str]):
    sampler, schedule = find_sampler_and_schedule(name, scheduler, SAMPLERS, SCHEDULES)
    assert (sampler.name, schedule.name) == expected


def test_an_unknown_name_is_rejected_with_the_nearest():
    with pytest.raises(NotFound) as error:
        find_sampler_and_schedule("DPM++ 2N Karras", "Automatic", SAMPLERS, SCHEDULES)
    assert error.value.message == "There is no sampler named 'DPM++ 2N Karras'."
    assert "'DPM++ 2M'" in error.value.hint
    with pytest.raises(NotFound, match="no schedule type named 'Karas'") as error:
        find_sampler_and_schedule("Euler", "Karas", SAMPLERS, SCHEDULES)
    assert error.value.hint == "Did you mean 'Karras'?"
