from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.Image import Resampling

from modules.backend.upscale.result_cache import ResultCache
from modules.models.upscaling.upscalers import Upscaler
from modules.plan.upscaling import PlannedUpscaler, Tiles
from tests.backend.upscale.tiny_upscalers import make_network, planned, write_network

RED, BLUE = (Image.new("RGB", (16, 8), name) for name in ("red", "blue"))


class Made:
    """Counts how often a result was computed."""

    def __init__(self, size: tuple[int, int] = (32, 16)) -> None:
        self.count = 0
        self.size = size

    def __call__(self) -> Image.Image:
        self.count += 1
        return Image.new("RGB", self.size)


def test_a_result_is_computed_again_for_whatever_can_change_it(tmp_path: Path):
    file = write_network(tmp_path / "a.pth", make_network("Compact").state_dict())
    other = write_network(tmp_path / "b.pth", make_network("Compact").state_dict())
    cache, made = ResultCache(), Made()
    asked = [
        (RED, planned(file), 2.0),
        (BLUE, planned(file), 2.0),
        (RED, planned(file, Tiles(8, 0)), 2.0),
        (RED, planned(file), 3.0),
        (RED, planned(other), 2.0),
    ]
    results = [cache.get(*one, limit=5, compute=made) for one in asked]
    assert made.count == 5
    assert [cache.get(*one, limit=5, compute=made) for one in asked] == results
    assert made.count == 5
    cache.get(*asked[0], limit=1, compute=made)  # the one that was used last is kept
    cache.get(*asked[0], limit=1, compute=made)
    assert made.count == 5
    cache.get(*asked[1], limit=1, compute=made)
    cache.clear()
    cache.get(*asked[1], limit=1, compute=made)
    assert made.count == 7


@pytest.mark.parametrize("limit", [0, 5])
def test_nothing_is_kept_of_a_filter_beyond_the_limit_or_of_what_is_too_large(
    tmp_path: Path, limit: int
):
    file = write_network(tmp_path / "a.pth", make_network("Compact").state_dict())
    lanczos = PlannedUpscaler(Upscaler("Lanczos", Resampling.LANCZOS))
    made, large = Made(), Made((11_000, 10_000))
    cache = ResultCache()
    for _ in range(2):
        cache.get(RED, lanczos, 2, limit, made)
        cache.get(RED, planned(file), 2, limit, large)
    assert (made.count, large.count) == (2, 2)
