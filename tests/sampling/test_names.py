from __future__ import annotations

import pytest

from modules.sampling.names import split_name

SAMPLERS = ["DPM++ 2M", "DPM++ 2M SDE", "Euler a", "DDIM"]
SCHEDULES = ["Automatic", "Karras", "SGM Uniform", "Exponential"]


@pytest.mark.parametrize(
    ("name", "scheduler", "expected"),
    [
        ("DPM++ 2M Karras", "Automatic", ("DPM++ 2M", "Karras")),
        ("dpm++ 2m sde exponential", "", ("DPM++ 2M SDE", "Exponential")),
        ("DPM++ 2M SGM Uniform", "Karras", ("DPM++ 2M", "SGM Uniform")),
        ("DPM++ 2M", "Karras", ("DPM++ 2M", "Karras")),
        ("euler a", "", ("Euler a", "Automatic")),
        (" DDIM ", "Karras", ("DDIM", "Karras")),
    ],
)
def test_a_name_of_old_is_a_sampler_and_a_schedule(
    name: str, scheduler: str, expected: tuple[str, str]
):
    assert split_name(name, scheduler, SAMPLERS, SCHEDULES) == expected


@pytest.mark.parametrize("name", ["Euler b", "Eulr Karras", "Karras", "k_euler_a", ""])
def test_what_is_not_known_stays_as_it_came(name: str):
    assert split_name(name, "Karras", SAMPLERS, SCHEDULES) == (name, "Karras")
