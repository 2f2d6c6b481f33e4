from __future__ import annotations

import numpy as np
import pytest

from modules.images.inpaint.soft import SoftCompositeSettings, make_composite_mask

DEFAULTS = SoftCompositeSettings(0, 0.5, 2)


def changed_right(by: float = 3.0) -> np.ndarray:
    """Return changes in the right half of 32 x 32 latent cells."""
    change = np.zeros((32, 32))
    change[:, 16:] = by
    return change


def shares(
    change: np.ndarray, asked: SoftCompositeSettings = DEFAULTS, mask: np.ndarray | None = None
) -> np.ndarray:
    mask = np.ones((32, 32)) if mask is None else mask
    return np.asarray(make_composite_mask(change, mask, asked, (256, 256))).astype(int)


def test_what_has_changed_is_new_and_what_has_not_is_old():
    made = shares(changed_right())
    assert made[:, 180:].min() > 240 and made[:, :80].max() < 15


def test_at_the_threshold_half_is_new():
    assert shares(np.full((32, 32), 0.5)).mean() == pytest.approx(127, abs=2)


def test_a_higher_threshold_keeps_more_and_contrast_sharpens():
    change = np.full((32, 32), 0.8)
    assert shares(change, SoftCompositeSettings(0, 2.0, 2)).mean() < shares(change).mean()
    assert shares(change, SoftCompositeSettings(0, 0.5, 8)).mean() > shares(change).mean()


def test_the_mask_decides_with_full_influence():
    mask = np.zeros((32, 32))
    mask[:, 16:] = 1
    made = shares(np.full((32, 32), 0.5), SoftCompositeSettings(1, 0.5, 2), mask)
    assert made[:, 180:].min() > 200 > 60 > made[:, :80].max()


def test_a_single_changed_cell_makes_its_surroundings_new_and_nothing_else():
    change = np.zeros((32, 32))
    change[16, 16] = 5
    made = shares(change)
    assert made[132, 132] > 200
    assert made[:96].max() == made[:, 168:].max() == 0
