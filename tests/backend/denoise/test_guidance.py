"""The combinations of predictions as pure functions of tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modules.backend.denoise.guidance import (
    GUIDANCES,
    Predictions,
    combine,
    find_guidance,
    skips_uncond,
)
from modules.params.settings.guidance import GuidanceSettings


def filled(value: float) -> Tensor:
    return torch.full((1, 4, 2, 2), value)


def test_the_guided_prediction_is_the_uncond_plus_each_weighted_difference():
    predictions = Predictions((filled(3.0), filled(5.0)), (1.0, -0.5), filled(1.0))
    assert torch.equal(combine(predictions, 2.0), filled(1 + 2 * 2 - 0.5 * 2 * 4))


def test_a_cond_in_place_of_the_uncond_adds_nothing():
    cond = filled(3.0)
    assert torch.equal(combine(Predictions((cond,), (1.0,), cond), 7.0), cond)


@pytest.mark.parametrize(("phi", "name"), [(0.0, "CFG"), (0.7, "CFG rescale")])
def test_the_settings_choose_the_row(phi: float, name: str):
    assert find_guidance(GuidanceSettings(cfg_rescale=phi)).name == name
    assert name in {row.name for row in GUIDANCES}


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [
        ({"s_min_uncond": 2.0}, [3, 5]),
        ({"s_min_uncond": 2.0, "s_min_uncond_all": True}, [2, 3, 4, 5]),
        ({"skip_early_cond": 0.2}, [0, 1]),
        ({}, []),
    ],
    ids=["NGMS", "NGMS all steps", "Skip Early CFG", "neither"],
)
def test_the_uncond_is_skipped_as_the_settings_say(settings: dict, skipped: list[int]):
    options = GuidanceSettings(**settings)
    sigmas = [9.0, 3.0, 1.5, 1.0, 0.5, 0.1]
    found = [i for i, sigma in enumerate(sigmas) if skips_uncond(options, i, 6, sigma)]
    assert found == skipped
