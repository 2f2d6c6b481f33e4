"""Screenshots are of the page's tabs, and stay small together."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tools.docs_tables import SECTION_TITLES, TAB_TITLES
from tools.screenshots import SHOTS, shrink_below

RAMP = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
SKY = Image.fromarray(np.dstack((RAMP, RAMP.T, RAMP // 2)))


def count_colours(data: bytes) -> int:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == SKY.size
    return len(image.getcolors(2**24) or ())


def test_every_shot_is_of_a_tab_or_a_part_of_one():
    assert set(SHOTS) <= {*TAB_TITLES, *SECTION_TITLES}
    assert {SHOTS[title].tab for title in SECTION_TITLES} <= set(TAB_TITLES)


def test_pictures_have_as_few_colours_as_their_size_takes():
    roomy = shrink_below({"a": SKY, "b": SKY}, 10**6)
    assert count_colours(roomy["a"]) > 128
    limit = sum(map(len, roomy.values()))
    tight = shrink_below({"a": SKY, "b": SKY}, limit)
    assert sum(map(len, tight.values())) < limit
    assert set(tight) == {"a", "b"}
