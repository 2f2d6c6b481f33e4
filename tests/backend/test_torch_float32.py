"""Sigmas equal A1111's to the last digit, where a Brownian motion shows it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.arithmetic import FLOAT64
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import run_dry
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from modules.sampling.solvers.dpmpp import dpmpp_sde
from tests.backend.tiny import sd1_alphas

ALPHAS = sd1_alphas().float().double().numpy()
# What A1111 1.10.1 passed to its samplers, as float32: sampler, schedule, steps.
MEASURED = {
    (
        "DPM++ SDE",
        "Karras",
        9,
    ): "14.6146431 8.56001472 4.79654408 2.55079317 1.27410495 0.589542806 0.247951746 "
    "0.0922609121 0.0291675385 0",
    (
        "DPM++ 2M SDE",
        "Exponential",
        10,
    ): "14.6146431 7.32488155 3.67124176 1.84003198 0.922226787 0.462221593 "
    "0.231666163 0.116111435 0.0581952259 0.0291675366 0",
    (
        "DPM++ 3M SDE",
        "Exponential",
        8,
    ): "14.6146431 6.71896219 3.08898711 1.42013633 0.652895987 0.300163537 "
    "0.137997702 0.0634433031 0",
}
UNIFORM = "14.6146431 7.83988285 4.60917425 2.91830707 1.95016146 1.34492779 0.932358027 0.624976933 0.368657798 "
WITH_SIGMAS = [row.name for row in SCHEDULES if row.sigmas]


def single(numbers: str) -> list[float]:
    return [float(np.float32(number)) for number in numbers.split()]


def make_run(sampler: str, schedule: str, steps: int, **options) -> RunSigmas:
    rows = SAMPLERS.get(sampler), SCHEDULES.get(schedule)
    return RunSigmas(*rows, steps, ModelSigmas(ALPHAS), SamplingSettings(**options), TORCH_FLOAT32)


@pytest.mark.parametrize("run", MEASURED, ids=str)
def test_an_sde_samplers_sigmas_are_a1111s(run: tuple[str, str, int]):
    sampler, schedule, steps = run
    run_sigmas = make_run(sampler, schedule, steps)
    assert list(run_sigmas.from_noise().sigmas) == single(MEASURED[run])
    assert run_sigmas.all_sigmas(0.5) == single(MEASURED[run])


# These need exp and log of many values, in which processors differ by an ulp.
@pytest.mark.parametrize(
    ("schedule", "steps", "options", "expected"),
    [
        ("Uniform", 10, {}, f"{UNIFORM} 0.0291675366 0"),
        ("Normal", 10, {}, f"{UNIFORM} 0.0291675366 0"),
        (
            "Uniform",
            5,
            {"use_downcasted_alpha_bar": True},
            "14.6090412 4.08461142 1.61564839 0.695136189 0.0312778912 0",
        ),
        (
            "Uniform",
            5,
            {"sd_noise_schedule": "Zero Terminal SNR"},
            "4518.76367 5.40662241 1.77131581 0.729143858 0.0291675366 0",
        ),
    ],
)
def test_interpolated_sigmas_are_a1111s(
    schedule: str, steps: int, options: dict[str, object], expected: str
):
    sigmas = np.array(make_run("Euler", schedule, steps, **options).sigmas(steps), np.float32)
    np.testing.assert_array_max_ulp(sigmas, np.array(single(expected), np.float32), 1)


@pytest.mark.parametrize("schedule", WITH_SIGMAS)
@pytest.mark.parametrize("options", [{}, {"sigma_min": 0.1, "sigma_max": 9.3, "rho": 5.5}], ids=str)
def test_every_schedule_is_computed_in_single_precision(schedule: str, options: dict[str, float]):
    sigmas = make_run("DPM++ 2M SDE", schedule, 13, **options).sigmas(13)
    double = SCHEDULES.get(schedule).sigmas
    assert double is not None
    assert sigmas == [float(np.float32(sigma)) for sigma in sigmas]
    assert sigmas == pytest.approx(
        double(13, ModelSigmas(ALPHAS), SamplingSettings(**options)), rel=1e-5
    )


def test_timestep_samplers_keep_whole_timesteps():
    run_sigmas = make_run("DDIM", "Uniform", 20)
    assert run_sigmas.model_sigmas.arithmetic is FLOAT64
    timesteps = [run_sigmas.model_sigmas.timestep_at(sigma) for sigma in run_sigmas.sigmas(20)]
    assert timesteps == pytest.approx(list(range(951, 0, -50)), abs=1e-9)


def test_dpmpp_sde_queries_the_motion_at_exponentials_of_logarithms():
    sigmas = make_run("DPM++ SDE", "Karras", 8).sigmas(8)
    logs = torch.tensor(sigmas[:-1]).log()
    middles = (logs[:-1] + (logs[1:] - logs[:-1]) * 0.5).exp()
    visited = run_dry(dpmpp_sde, sigmas, arithmetic=TORCH_FLOAT32).sigmas
    assert visited[1::2] == middles.tolist()


def test_functions_take_numbers_and_arrays_of_any_layout():
    assert float(TORCH_FLOAT32.sqrt(np.float32(9))) == 3
    assert TORCH_FLOAT32.log(np.ones((4, 6))[::-1, ::2]).tolist() == [[0.0] * 3] * 4
    assert TORCH_FLOAT32.linspace(1, 0, 1).tolist() == [1.0]
    assert float(FLOAT64.power(np.array(2.0), 0.5)) == math.sqrt(2)
