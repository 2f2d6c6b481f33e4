from __future__ import annotations

import pytest

from modules.core.errors import NotFound
from modules.models.upscaling.upscalers import UPSCALERS


def test_latent_upscalers_are_a1111s_in_its_order():
    assert [row.name for row in UPSCALERS if row.is_latent] == [
        "Latent",
        "Latent (antialiased)",
        "Latent (bicubic)",
        "Latent (bicubic antialiased)",
        "Latent (nearest)",
        "Latent (nearest-exact)",
    ]


def test_upscalers_of_pixels_are_a1111s_without_files():
    assert [row.name for row in UPSCALERS if not row.is_latent] == ["None", "Lanczos", "Nearest"]


def test_the_error_for_an_unknown_upscaler_suggests_the_most_similar():
    with pytest.raises(NotFound, match="Did you mean 'Lanczos'"):
        UPSCALERS.get("lanzcos")
