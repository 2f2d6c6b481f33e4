"""Counts of A1111 1.10.1: t_enc = int(min(d, 0.999) steps), and what each family of samplers makes of it."""

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
from tests.sampling.toy_models import sd1_levels

SD1 = sd1_levels()


def course_of(name: str, steps: int = 20, schedule: str = "Karras", **options) -> RunSigmas:
    return RunSigmas(
        SAMPLERS.get(name), SCHEDULES.get(schedule), steps, SD1, SamplingSettings(**options)
    )


def begun(name: str, strength: float, steps: int = 20, exact: bool = False) -> RunStart:
    start = course_of(name, steps).from_image(strength, exact)
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
    start, sigmas = begun(name, strength), course_of(name).sigmas(20)
    assert start.sigmas == tuple(sigmas[-updates - 1 :])
    assert len(start.sigmas) == updates + 1
    assert (start.noise_sigma, start.scale) == (start.sigmas[0], 1)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_a_full_strength_keeps_every_step(steps: int):
    assert begun("Euler", 1.0, steps).sigmas == course_of("Euler", steps).from_noise().sigmas


@pytest.mark.parametrize(
    ("strength", "steps", "of"), [(0.75, 20, 26), (0.5, 7, 14), (1.0, 20, 20), (0.1, 150, 1500)]
)
def test_exact_steps_are_the_last_of_a_longer_schedule(strength: float, steps: int, of: int):
    start = begun("Euler", strength, steps, exact=True)
    assert start.sigmas == tuple(course_of("Euler", of).sigmas(of)[-steps - 1 :])
    assert len(start.sigmas) == steps + 1


@pytest.mark.parametrize("name", ["Euler", "DDIM", "UniPC", "DPM fast"])
def test_exact_steps_at_no_strength_are_none(name: str):
    assert course_of(name).from_image(0, fix_steps=True) is None


@pytest.mark.parametrize(
    ("strength", "noised_to", "first", "updates"),
    [(0.75, 751, 701, 14), (0.5, 501, 451, 9), (1.0, 951, 901, 18), (0.1, 101, 51, 1)],
)
@pytest.mark.parametrize("name", ["DDIM", "DDIM CFG++", "PLMS"])
def test_ddim_noises_to_the_timestep_before_its_first(
    name: str, strength, noised_to, first, updates
):
    start = begun(name, strength)
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(noised_to)
    assert timesteps_of(start)[0] == pytest.approx(first)
    assert timesteps_of(start)[-1] == pytest.approx(1)
    assert len(start.sigmas) == updates + 1


def test_exact_steps_of_ddim_are_one_less_again():
    """int(20 / 0.5) = 40 timesteps, 25 apart, of which the first 19 are walked and the twentieth is noised to."""
    start = begun("DDIM", 0.5, exact=True)
    assert timesteps_of(start) == pytest.approx([25 * place + 1 for place in reversed(range(19))])
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(25 * 19 + 1)


def test_ddim_takes_the_noised_picture_for_one_of_its_first_level():
    """In its variance-preserving form: sqrt(a) x + sqrt(1 - a) noise with a of the level noised to."""
    start = begun("DDIM", 0.75)
    share = 1 / (1 + start.noise_sigma**2)
    first_share = 1 / (1 + start.sigmas[0] ** 2)
    assert start.scale * math.sqrt(first_share) == pytest.approx(math.sqrt(share))


def test_unipc_spreads_as_many_steps_as_ddim_keeps_timesteps():
    """Of 20 timesteps 15 are kept, the last of them 701; UniPC goes from there to 0 in 15 even steps."""
    start = begun("UniPC", 0.75)
    assert timesteps_of(start) == pytest.approx([701 - 701 * n / 15 for n in range(16)], abs=0.05)
    assert SD1.timestep_at(start.noise_sigma) == pytest.approx(751)


@pytest.mark.parametrize("name", ["DPM fast", "DPM adaptive"])
def test_the_dpm_solver_goes_from_the_first_level_to_the_next_to_last(name: str):
    start, sigmas = begun(name, 0.75), course_of(name).sigmas(20)[-17:]
    assert (start.sigmas[0], start.sigmas[-1]) == (sigmas[0], sigmas[-2])
    assert len(start.sigmas) - 1 == 16


@pytest.mark.parametrize("name", ["DPM fast", "DPM adaptive"])
def test_a_whole_run_of_the_dpm_solver_spans_the_model_and_begins_with_the_schedules_noise(
    name: str,
):
    start = course_of(name, schedule="DDIM").from_noise()
    assert (start.sigmas[0], start.sigmas[-1]) == (SD1.sigma_max, SD1.sigma_min)
    assert (
        start.noise_sigma
        == course_of(name, schedule="DDIM").sigmas(20)[0]
        == pytest.approx(11.0, abs=0.2)
    )


@pytest.mark.parametrize(
    ("name", "strength"), [("DDIM", 0.0), ("PLMS", 0.05), ("UniPC", 0.05), ("DPM fast", 0.0)]
)
def test_a_run_without_an_update_is_refused(name: str, strength: float):
    assert course_of(name).from_image(strength) is None
    with pytest.raises(UserError, match=f"{name} with 20 steps makes no update"):
        check_steps(SAMPLERS.get(name), 20, strength)


@pytest.mark.parametrize("name", ["DDIM", "UniPC"])
def test_one_step_of_a_timestep_sampler_is_refused(name: str):
    with pytest.raises(UserError, match="with 1 step makes no update") as error:
        check_steps(SAMPLERS.get(name), 1)
    assert error.value.hint == "Use at least 2 steps."
    check_steps(SAMPLERS.get("Euler"), 1)


def test_the_first_noise_is_scaled_as_the_option_says():
    first = course_of("Euler").from_noise().sigmas[0]
    assert course_of("Euler").from_noise().noise_sigma == first
    assert course_of("Euler", sgm_noise_multiplier=True).from_noise().noise_sigma == pytest.approx(
        math.hypot(1, first)
    )
    assert course_of("DDIM").from_noise().noise_sigma == pytest.approx(
        math.hypot(1, SD1.sigma_at(951))
    )


def test_a_discarded_level_is_the_next_to_last_of_a_schedule_with_one_more():
    longer = SCHEDULES.get("Karras").sigmas(21, SD1, DEFAULTS)
    expected = (*longer[:-2], longer[-1])
    assert course_of("DPM2").from_noise().sigmas == expected
    assert (
        course_of("Euler", always_discard_next_to_last_sigma=True).from_noise().sigmas == expected
    )
    assert course_of("DPM2", always_discard_next_to_last_sigma=True).from_noise().sigmas == expected


def test_to_discard_a_level_of_ddim_is_a_step_more():
    start = course_of("DDIM", always_discard_next_to_last_sigma=True).from_noise()
    assert timesteps_of(start) == pytest.approx([47 * n + 1 for n in reversed(range(22))])


def test_the_motion_goes_over_the_whole_schedule():
    course = course_of("DPM++ 2M SDE")
    assert course.all_sigmas() == course.all_sigmas(0.3) == course.sigmas(20)
    assert course.all_sigmas(0.5, fix_steps=True) == course.sigmas(40)


def test_options_and_samplers_change_the_models_levels():
    assert course_of("Euler").model_sigmas is SD1
    assert (
        course_of("Euler", enable_quantization=True).model_sigmas.timestep_at(SD1.sigma_at(500.4))
        == 500
    )
    assert course_of("DDIM", enable_quantization=True).model_sigmas is SD1
    assert course_of("LCM", enable_quantization=True).model_sigmas.count == 50
    assert course_of("DDIM", sd_noise_schedule="Zero Terminal SNR").model_sigmas.sigma_max > 4000
    assert (
        course_of(
            "LCM", sd_noise_schedule="Zero Terminal SNR", use_downcasted_alpha_bar=True
        ).model_sigmas.sigma_max
        > 4000
    )
