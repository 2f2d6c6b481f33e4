from __future__ import annotations

import numpy as np
import pytest

from modules.images.inpaint.soft import SoftCompositeSettings, make_composite_mask

DEFAULTS = SoftCompositeSettings(0, 0.5, 2)


def right_half_change(amount: float = 3.0) -> np.ndarray:
    """Return the change of 32 x 32 latent cells, only in the right half."""
    change = np.zeros((32, 32))
    change[:, 16:] = amount
    return change


def opacity(
    change: np.ndarray, settings: SoftCompositeSettings = DEFAULTS, mask: np.ndarray | None = None
) -> np.ndarray:
    mask = np.ones((32, 32)) if mask is None else mask
    return np.asarray(make_composite_mask(change, mask, settings, (256, 256))).astype(int)


def test_changed_areas_are_new_and_unchanged_areas_are_old():
    result = opacity(right_half_change())
    assert result[:, 180:].min() > 240 and result[:, :80].max() < 15


def test_at_the_threshold_pixels_are_half_new():
    assert opacity(np.full((32, 32), 0.5)).mean() == pytest.approx(127, abs=2)


def test_a_higher_threshold_keeps_more_and_contrast_sharpens():
    change = np.full((32, 32), 0.8)
    assert opacity(change, SoftCompositeSettings(0, 2.0, 2)).mean() < opacity(change).mean()
    assert opacity(change, SoftCompositeSettings(0, 0.5, 8)).mean() > opacity(change).mean()


def test_with_full_influence_the_mask_decides():
    mask = np.zeros((32, 32))
    mask[:, 16:] = 1
    result = opacity(np.full((32, 32), 0.5), SoftCompositeSettings(1, 0.5, 2), mask)
    assert result[:, 180:].min() > 200 > 60 > result[:, :80].max()


def test_a_single_changed_cell_affects_only_its_surroundings():
    change = np.zeros((32, 32))
    change[16, 16] = 5
    result = opacity(change)
    assert result[132, 132] > 200
    assert result[:96].max() == result[:, 168:].max() == 0
