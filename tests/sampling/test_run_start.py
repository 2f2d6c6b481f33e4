"""Counts of A1111 1.10.1: t_enc = int(min(d, 0.999) steps), and how each sampler family uses it."""

from __future__ import annotations

import math

import pytest

from modules.core.errors import UserError
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import DEFAULTS
from modules.sampling.run_sigmas import RunSigmas, check_steps
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.sampling.toy_models import sd1_model_sigmas

SD1 = sd1_model_sigmas()


def make_run_sigmas(name: str, steps: int = 20, schedule: str = "Karras", **options) -> RunSigmas:
    return RunSigmas(
        SAMPLERS.get(name), SCHEDULES.get(schedule), steps, SD1, SamplingSettings(**options)
    )


def start_from_image(
    name: str, strength: float, steps: int = 20, fix_steps: bool = False
) -> RunStart:
    start = make_run_sigmas(name, steps).from_image(strength, fix_steps)
    assert start is not None
    return start


def timesteps_of(start: RunStart) -> list[float]:
    return [SD1.timestep_at(sigma) for sigma in start.sigmas]


@pytest.mark.parametrize(
    ("strength", "updates"),
    [(0.75, 16), (0.5, 11), (0.3, 7), (1.0, 20), (0.0, 1), (0.04, 1), (0.05, 2)],
)
@pytest.mark.parametrize("name", ["Euler", "DPM++ 3M SDE"])
def test_twenty_steps_are_cut_as_in_a1111(name: str, strength: float, updates: int):
    start, sigmas = start_from_image(name, strength), make_run_sigmas(name).sigmas(20)
    assert start.sigmas == tuple(sigmas[-updates - 1 :])
    assert len(start.sigmas) == updates + 1
    assert (start.noise_sigma, start.scale) == (start.sigmas[0], 1)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_full_strength_runs_every_step(steps: int):
    assert (
        start_from_image("Euler", 1.0, steps).sigmas
        == make_run_sigmas("Euler", steps).from_noise().sigmas
    )


@pytest.mark.parametrize(
    ("strength", "steps", "schedule_steps"),
    [(0.75, 20, 26), (0.5, 7, 14), (1.0, 20, 20), (0.1, 150, 1500)],
)
def test_fixed_steps_are_the_last_of_a_longer_schedule(
    strength: float, steps: int, schedule_steps: int
):
    start = start_from_image("Euler", strength, steps, fix_steps=True)
    assert start.sigmas == tuple(
        make_run_sigmas("Euler", schedule_steps).sigmas(schedule_steps)[-steps - 1 :]
    )
    assert len(start.sigmas) == steps + 1


@pytest.mark.parametrize("name", ["Euler", "DDIM", "UniPC", "DPM fast"])
def test_fixed_steps_at_strength_0_are_none(name: str):
    assert make_run_sigmas(name).from_image(0, fix_steps=True) is None


@pytest.mark.parametrize(
    ("strength", "noise_timestep", "first", "updates"),
    [(0.75, 751, 701, 14), (0.5, 501, 451, 9), (1.0, 951, 901, 18), (0.1, 101, 51, 1)],
)
@pytest.mark.parametrize("name", ["DDIM", "DDIM CFG++", "PLMS"])
def test_ddim_noises_to_the_timestep_before_its_first(
    name: str, strength, noise_timestep, first, updates
):
    start = start_from_image(name, strength)
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(noise_timestep)
    assert timesteps_of(start)[0] == pytest.approx(first)
    assert timesteps_of(start)[-1] == pytest.approx(1)
    assert len(start.sigmas) == updates + 1


def test_fixed_steps_of_ddim_are_one_less():
    """int(20 / 0.5) = 40 timesteps, 25 apart; the run visits the lowest 19, the image is noised to the twentieth."""
    start = start_from_image("DDIM", 0.5, fix_steps=True)
    assert timesteps_of(start) == pytest.approx([25 * n + 1 for n in reversed(range(19))])
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(25 * 19 + 1)


def test_ddim_uses_the_noised_image_at_its_first_sigma():
    """In its variance-preserving form: sqrt(a) x + sqrt(1 - a) noise with a of noise_sigma."""
    start = start_from_image("DDIM", 0.75)
    noise_alpha = 1 / (1 + start.noise_sigma**2)
    first_alpha = 1 / (1 + start.sigmas[0] ** 2)
    assert start.scale * math.sqrt(first_alpha) == pytest.approx(math.sqrt(noise_alpha))


def test_unipc_runs_as_many_steps_as_ddim_keeps_timesteps():
    """Of 20 timesteps 15 are kept, the last of them 701; UniPC goes from there to 0 in 15 even steps."""
    start = start_from_image("UniPC", 0.75)
    timesteps = [SAMPLERS.get("UniPC").family.timestep_at(SD1, sigma) for sigma in start.sigmas]
    assert timesteps == pytest.approx([701 - 701 * n / 15 for n in range(16)], abs=1e-6)
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(751)


@pytest.mark.parametrize("name", ["DPM fast", "DPM adaptive"])
def test_dpm_solver_goes_from_the_first_sigma_to_the_next_to_last(name: str):
    start, sigmas = start_from_image(name, 0.75), make_run_sigmas(name).sigmas(20)[-17:]
    assert (start.sigmas[0], start.sigmas[-1]) == (sigmas[0], sigmas[-2])
    assert len(start.sigmas) - 1 == 16


@pytest.mark.parametrize("name", ["DPM fast", "DPM adaptive"])
def test_a_full_run_of_dpm_solver_spans_the_model_and_starts_with_the_schedules_noise(
    name: str,
):
    start = make_run_sigmas(name, schedule="DDIM").from_noise()
    assert (start.sigmas[0], start.sigmas[-1]) == (SD1.sigma_max, SD1.sigma_min)
    assert (
        start.noise_sigma
        == make_run_sigmas(name, schedule="DDIM").sigmas(20)[0]
        == pytest.approx(11.0, abs=0.2)
    )


@pytest.mark.parametrize(
    ("name", "strength"), [("DDIM", 0.0), ("PLMS", 0.05), ("UniPC", 0.05), ("DPM fast", 0.0)]
)
def test_a_run_without_an_update_is_rejected(name: str, strength: float):
    assert make_run_sigmas(name).from_image(strength) is None
    with pytest.raises(UserError, match=f"{name} with 20 steps makes no update"):
        check_steps(SAMPLERS.get(name), 20, strength)


@pytest.mark.parametrize("name", ["DDIM", "UniPC"])
def test_one_step_of_a_timestep_sampler_is_rejected(name: str):
    with pytest.raises(UserError, match="with 1 step makes no update") as error:
        check_steps(SAMPLERS.get(name), 1)
    assert error.value.hint == "Use at least 2 steps."
    check_steps(SAMPLERS.get("Euler"), 1)


def test_sgm_noise_multiplier_scales_the_initial_noise():
    first = make_run_sigmas("Euler").from_noise().sigmas[0]
    assert make_run_sigmas("Euler").from_noise().noise_sigma == first
    assert make_run_sigmas(
        "Euler", sgm_noise_multiplier=True
    ).from_noise().noise_sigma == pytest.approx(math.hypot(1, first))
    assert make_run_sigmas("DDIM").from_noise().noise_sigma == pytest.approx(
        math.hypot(1, SD1.sigma_at(951))
    )


def test_the_discarded_sigma_is_the_next_to_last_of_a_schedule_with_one_step_more():
    longer = SCHEDULES.get("Karras").sigmas(21, SD1, DEFAULTS)
    expected = (*longer[:-2], longer[-1])
    assert make_run_sigmas("DPM2").from_noise().sigmas == expected
    assert (
        make_run_sigmas("Euler", always_discard_next_to_last_sigma=True).from_noise().sigmas
        == expected
    )
    assert (
        make_run_sigmas("DPM2", always_discard_next_to_last_sigma=True).from_noise().sigmas
        == expected
    )


def test_discarding_a_sigma_of_ddim_is_one_step_more():
    start = make_run_sigmas("DDIM", always_discard_next_to_last_sigma=True).from_noise()
    assert timesteps_of(start) == pytest.approx([47 * n + 1 for n in reversed(range(22))])


def test_all_sigmas_are_those_of_the_full_schedule():
    run_sigmas = make_run_sigmas("DPM++ 2M SDE")
    assert run_sigmas.all_sigmas() == run_sigmas.all_sigmas(0.3) == run_sigmas.sigmas(20)
    assert run_sigmas.all_sigmas(0.5, fix_steps=True) == run_sigmas.sigmas(40)


def test_options_and_samplers_adjust_the_model_sigmas():
    assert make_run_sigmas("Euler").model_sigmas is SD1
    assert (
        make_run_sigmas("Euler", enable_quantization=True).model_sigmas.timestep_at(
            SD1.sigma_at(500.4)
        )
        == 500
    )
    assert make_run_sigmas("DDIM", enable_quantization=True).model_sigmas is SD1
    assert make_run_sigmas("LCM", enable_quantization=True).model_sigmas.count == 50
    assert (
        make_run_sigmas("DDIM", sd_noise_schedule="Zero Terminal SNR").model_sigmas.sigma_max > 4000
    )
    assert (
        make_run_sigmas(
            "LCM", sd_noise_schedule="Zero Terminal SNR", use_downcasted_alpha_bar=True
        ).model_sigmas.sigma_max
        > 4000
    )
