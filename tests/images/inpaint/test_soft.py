from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.images.inpaint.soft import SoftCompositeSettings, make_composite_mask

DEFAULTS = SoftCompositeSettings(0.5, 0, 0.5, 2)


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


def window_mean(values: np.ndarray, row: int, column: int, low: float, high: float) -> float:
    """Return a cell of A1111's filter by its definition: the mean of a range of its neighbours, sorted and weighted."""
    lowest = math.exp(-9 / 2.25)
    cells = []
    for y, x in np.ndindex(values.shape):
        distance = (y - row) ** 2 + (x - column) ** 2
        if max(abs(y - row), abs(x - column)) <= 2:
            cells.append((values[y, x], (math.exp(-distance / 2.25) - lowest) / (1 - lowest)))
    cells.sort(key=lambda cell: cell[0])
    total = sum(weight for _, weight in cells)
    width = max(1, (high - low) * total)
    start = max(0, min((low + high) / 2 * total - width / 2, total - width))
    sum_of_values = reached = 0.0
    for value, weight in cells:
        share = max(0, min(reached + weight, start + width) - max(reached, start))
        sum_of_values, reached = sum_of_values + value * share, reached + weight
    return sum_of_values / width


def opacity_by_definition(
    change: np.ndarray, mask: np.ndarray, settings: SoftCompositeSettings, size: tuple[int, int]
) -> Image.Image:
    for low, high in ((0.9, 1.0), (0.25, 0.75)):
        cells = [window_mean(change, y, x, low, high) for y, x in np.ndindex(change.shape)]
        change = np.array(cells).reshape(change.shape)
    kept = 1 - mask ** (settings.preservation_strength / 2)
    kept = 0.5 * (1 - settings.mask_influence) + kept * settings.mask_influence
    half = settings.difference_threshold * kept / (1.00001 - kept)
    old = 1 / (1 + (change / half) ** settings.difference_contrast)
    new = 1 - old**3 * (10 - 15 * old + 6 * old**2)
    pixels = Image.fromarray(np.floor(255 * new).astype(np.uint8))
    return pixels.resize(size, Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(4))


@pytest.mark.parametrize(
    "settings",
    [
        DEFAULTS,
        SoftCompositeSettings(2.0, 0.25, 1.5, 4),
        SoftCompositeSettings(0.05, 1.0, 0.25, 8),
        SoftCompositeSettings(8.0, 0.9, 8.0, 0.5),
        SoftCompositeSettings(0.0, 0.5, 0.5, 0.0),
    ],
)
@pytest.mark.parametrize("cells", [(7, 9), (16, 16), (1, 3)])
def test_the_opacity_is_a1111s_by_its_definition(
    settings: SoftCompositeSettings, cells: tuple[int, int]
):
    random = np.random.default_rng(5)
    change = random.exponential(1.0, cells).astype(np.float32)
    mask = random.uniform(0.02, 0.98, cells).astype(np.float32)
    size = 8 * cells[1], 8 * cells[0]
    result = np.asarray(make_composite_mask(change, mask, settings, size)).astype(int)
    expected = np.asarray(opacity_by_definition(change, mask, settings, size))
    assert np.abs(result - expected).max() <= 1, "32-bit floats may floor to the next level"
    assert (result != expected).mean() < 0.01


def test_the_mask_limits_nothing():
    """Soft inpainting replaces whatever has changed, as in A1111; black of the mask does not change in the latents."""
    assert opacity(right_half_change(), mask=np.zeros((32, 32)))[:, 180:].min() > 240


def test_at_a_threshold_of_zero_all_that_changed_is_new():
    change = right_half_change(1e-4)
    result = opacity(change, replace(DEFAULTS, difference_threshold=0))
    assert result[:, 180:].min() == 255 and result[:, :80].max() == 0


def test_changed_areas_are_new_and_unchanged_areas_are_old():
    result = opacity(right_half_change())
    assert result[:, 180:].min() > 240 and result[:, :80].max() < 15


def test_at_the_threshold_pixels_are_half_new():
    assert opacity(np.full((32, 32), 0.5)).mean() == pytest.approx(127, abs=2)


def test_a_higher_threshold_keeps_more_and_contrast_sharpens():
    change = np.full((32, 32), 0.8)
    higher, sharper = (
        replace(DEFAULTS, difference_threshold=2.0),
        replace(DEFAULTS, difference_contrast=8),
    )
    assert opacity(change, higher).mean() < opacity(change).mean() < opacity(change, sharper).mean()


def test_with_full_influence_the_mask_decides():
    mask = np.zeros((32, 32))
    mask[:, 16:] = 1
    result = opacity(np.full((32, 32), 0.5), replace(DEFAULTS, mask_influence=1), mask)
    assert result[:, 180:].min() > 200 > 60 > result[:, :80].max()


def test_a_single_changed_cell_affects_only_its_surroundings():
    change = np.zeros((32, 32))
    change[16, 16] = 5
    result = opacity(change)
    assert result[132, 132] > 200
    assert result[:88].max() == result[:, 176:].max() == 0
