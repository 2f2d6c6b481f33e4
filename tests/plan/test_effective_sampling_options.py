from __future__ import annotations

import pytest

from modules.params.settings.sampling import SamplingSettings
from modules.plan.effective_settings import CONDITIONAL_OPTIONS, effective_options
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES

LOUD = {"s_churn": 1.0, "eta_ddim": 1.0}


def heard_by(
    sampler: str, schedule: str = "Uniform", from_noise: bool = True, **options
) -> set[str]:
    settings = SamplingSettings(**{**LOUD, **options})
    return {
        *effective_options(SAMPLERS.get(sampler), SCHEDULES.get(schedule), settings, from_noise)
    }


def test_options_that_some_run_hears_are_options():
    assert set(SamplingSettings.model_fields) >= CONDITIONAL_OPTIONS
    assert {
        "rho",
        "s_churn",
        "uni_pc_order",
        "beta_dist_alpha",
        "sgm_noise_multiplier",
    } <= CONDITIONAL_OPTIONS
    assert not {"randn_source", "tiling", "sd_noise_schedule"} & CONDITIONAL_OPTIONS, (
        "every run hears them"
    )


def test_a_k_diffusion_sampler_hears_its_schedule_and_a_timestep_sampler_does_not():
    assert {"rho", "sigma_min", "sgm_noise_multiplier"} <= heard_by("Euler", "Karras")
    assert not {"rho", "sigma_min", "sgm_noise_multiplier"} & heard_by("DDIM", "Karras")
    assert "rho" not in heard_by("Euler", "Exponential")


def test_noise_of_a_strength_of_nothing_is_not_heard():
    assert {"s_noise", "s_tmin", "eta_noise_seed_delta"} <= heard_by("Euler")
    assert not {"s_noise", "s_tmin", "eta_noise_seed_delta"} & heard_by("Euler", s_churn=0)
    assert "s_churn" in heard_by("Euler", s_churn=0)
    assert "s_noise" not in heard_by("DPM++ 2M SDE", eta_ancestral=0)
    assert "eta_noise_seed_delta" in heard_by("LCM")


@pytest.mark.parametrize(
    ("name", "is_heard"), [("DPM++ 2M", True), ("DPM2", False), ("DDIM", True)]
)
def test_a_level_that_is_discarded_anyway_is_not_discarded_by_the_option(name: str, is_heard: bool):
    assert ("always_discard_next_to_last_sigma" in heard_by(name)) == is_heard


def test_the_first_noises_multiplier_needs_a_run_from_noise():
    assert "sgm_noise_multiplier" not in heard_by("Euler", from_noise=False)
