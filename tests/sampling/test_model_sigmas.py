from __future__ import annotations

import numpy as np
import pytest

from modules.sampling.model_sigmas import ModelSigmas
from tests.sampling.toy_models import sd1_levels


def test_sd1_levels_run_over_the_published_range():
    levels = sd1_levels()
    assert levels.count == 1000
    assert levels.sigma_min == pytest.approx(0.0291675, abs=1e-6)
    assert levels.sigma_max == pytest.approx(14.614643, abs=1e-4)


def test_sigma_is_noise_over_signal():
    levels = ModelSigmas([0.8, 0.5, 0.2])
    assert levels.sigmas == pytest.approx([0.5, 1.0, 2.0])


def test_between_two_timesteps_log_sigma_is_interpolated():
    levels = ModelSigmas([0.8, 0.5, 0.2])
    assert levels.sigma_at(0.5) == pytest.approx(np.sqrt(0.5 * 1.0))
    assert levels.sigma_at(1) == pytest.approx(1.0)


@pytest.mark.parametrize("timestep", [0, 0.25, 1, 500.5, 998.9, 999])
def test_timestep_at_is_the_inverse_of_sigma_at(timestep: float):
    levels = sd1_levels()
    assert levels.timestep_at(levels.sigma_at(timestep)) == pytest.approx(timestep, abs=1e-6)


def test_sigmas_out_of_range_are_clipped_to_the_trained_timesteps():
    levels = sd1_levels()
    assert levels.timestep_at(100) == 999
    assert levels.timestep_at(0) == 0


def test_strided_levels_are_counted_from_the_last():
    levels = sd1_levels().quantize(20)
    assert levels.count == 50
    assert levels.sigmas[[0, -1]] == pytest.approx(
        [sd1_levels().sigma_at(19), sd1_levels().sigma_max]
    )
    assert [levels.timestep_at(sigma) for sigma in levels.sigmas[[0, 1, -1]]] == [19, 39, 999]


def test_snapped_levels_show_whole_timesteps_alone():
    levels = sd1_levels()
    assert levels.quantize().timestep_at(levels.sigma_at(500.4)) == 500
    assert levels.quantize().sigma_at(500.4) == levels.sigma_at(500.4)


def test_zero_terminal_snr_keeps_the_first_level_and_ends_in_noise_alone():
    levels, zero = sd1_levels(), sd1_levels().with_zero_terminal_snr()
    assert zero.sigma_min == pytest.approx(levels.sigma_min)
    assert zero.sigma_max == pytest.approx(4518.76, abs=0.01)
    assert (zero.sigmas[1:-1] > levels.sigmas[1:-1]).all()


def test_half_precision_rounds_the_alphas():
    halved = sd1_levels().to_half_precision()
    assert halved.sigmas != pytest.approx(sd1_levels().sigmas, rel=1e-6)
    assert halved.sigmas == pytest.approx(sd1_levels().sigmas, rel=0.1)


def test_log_alpha_is_interpolated_between_timesteps():
    levels = ModelSigmas([0.8, 0.5, 0.2])
    assert levels.log_alpha_at(0.5) == pytest.approx(0.25 * np.log(0.8 * 0.5))
