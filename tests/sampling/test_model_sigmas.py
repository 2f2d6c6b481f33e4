from __future__ import annotations

import numpy as np
import pytest

from modules.sampling.model_sigmas import ModelSigmas
from tests.sampling.toy_models import sd1_model_sigmas


def test_sd1_sigmas_run_over_the_published_range():
    model_sigmas = sd1_model_sigmas()
    assert model_sigmas.count == 1000
    assert model_sigmas.sigma_min == pytest.approx(0.0291675, abs=1e-6)
    assert model_sigmas.sigma_max == pytest.approx(14.614643, abs=1e-4)


def test_sigma_is_noise_over_signal():
    model_sigmas = ModelSigmas([0.8, 0.5, 0.2])
    assert model_sigmas.sigmas == pytest.approx([0.5, 1.0, 2.0])


def test_log_sigma_is_interpolated_between_timesteps():
    model_sigmas = ModelSigmas([0.8, 0.5, 0.2])
    assert model_sigmas.sigma_at(0.5) == pytest.approx(np.sqrt(0.5 * 1.0))
    assert model_sigmas.sigma_at(1) == pytest.approx(1.0)


@pytest.mark.parametrize("timestep", [0, 0.25, 1, 500.5, 998.9, 999])
def test_timestep_at_is_the_inverse_of_sigma_at(timestep: float):
    model_sigmas = sd1_model_sigmas()
    assert model_sigmas.timestep_at(model_sigmas.sigma_at(timestep)) == pytest.approx(
        timestep, abs=1e-6
    )


def test_sigmas_out_of_range_are_clipped_to_the_trained_timesteps():
    model_sigmas = sd1_model_sigmas()
    assert model_sigmas.timestep_at(100) == 999
    assert model_sigmas.timestep_at(0) == 0


def test_strided_timesteps_are_counted_from_the_last():
    model_sigmas = sd1_model_sigmas().quantize(20)
    assert model_sigmas.count == 50
    assert model_sigmas.sigmas[[0, -1]] == pytest.approx(
        [sd1_model_sigmas().sigma_at(19), sd1_model_sigmas().sigma_max]
    )
    assert [model_sigmas.timestep_at(sigma) for sigma in model_sigmas.sigmas[[0, 1, -1]]] == [
        19,
        39,
        999,
    ]


def test_quantized_timesteps_are_integers():
    model_sigmas = sd1_model_sigmas()
    assert model_sigmas.quantize().timestep_at(model_sigmas.sigma_at(500.4)) == 500
    assert model_sigmas.quantize().sigma_at(500.4) == model_sigmas.sigma_at(500.4)


def test_zero_terminal_snr_keeps_the_first_sigma_and_ends_in_pure_noise():
    model_sigmas, zero = sd1_model_sigmas(), sd1_model_sigmas().with_zero_terminal_snr()
    assert zero.sigma_min == pytest.approx(model_sigmas.sigma_min)
    assert zero.sigma_max == pytest.approx(4518.76, abs=0.01)
    assert (zero.sigmas[1:-1] > model_sigmas.sigmas[1:-1]).all()


def test_half_precision_rounds_the_alphas():
    rounded = sd1_model_sigmas().to_half_precision()
    assert rounded.sigmas != pytest.approx(sd1_model_sigmas().sigmas, rel=1e-6)
    assert rounded.sigmas == pytest.approx(sd1_model_sigmas().sigmas, rel=0.1)


def test_log_alpha_is_interpolated_between_timesteps():
    model_sigmas = ModelSigmas([0.8, 0.5, 0.2])
    assert model_sigmas.log_alpha_at(0.5) == pytest.approx(0.25 * np.log(0.8 * 0.5))


@pytest.mark.parametrize("timestep", [0, 0.5, 1, 123.456, 998.7, 999])
def test_a_timestep_is_found_again_by_its_alpha(timestep: float):
    for model_sigmas in (sd1_model_sigmas(), sd1_model_sigmas().with_zero_terminal_snr()):
        sigma = np.sqrt(np.expm1(-2 * model_sigmas.log_alpha_at(timestep)))
        assert model_sigmas.timestep_by_alpha(sigma) == pytest.approx(timestep, abs=1e-9)
    assert sd1_model_sigmas().timestep_by_alpha(100) == 999
    assert sd1_model_sigmas().timestep_by_alpha(0) == 0
