from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modules.core.errors import UserError
from modules.images.strokes import MAX_POINTS, parse_strokes

SIZE = (64, 48)


def to_json(*strokes: dict[str, Any], size: tuple[int, int] = SIZE) -> str:
    return json.dumps({"size": size, "strokes": strokes})


def draw_mask(*strokes: dict[str, Any]) -> np.ndarray:
    return np.asarray(parse_strokes(to_json(*strokes), SIZE).to_mask())


def test_without_strokes_the_mask_is_empty_and_of_the_images_size():
    mask = parse_strokes("", SIZE).to_mask()
    assert (mask.size, mask.mode, mask.getextrema()) == (SIZE, "L", (0, 0))


def test_a_stroke_is_a_band_with_round_ends():
    mask = draw_mask({"radius": 5, "points": [20, 24, 40, 24]})
    assert set(np.unique(mask)) == {0, 255}
    assert mask[24, 15:46].all() and not mask[24, :14].any() and not mask[24, 47:].any()
    assert mask[19:30, 30].all() and not mask[:18, 30].any() and not mask[31:, 30].any()
    assert not mask[19, 15], "the end is round"


def test_strokes_in_any_direction_have_no_gaps():
    mask = draw_mask({"radius": 3, "points": [4, 4, 60, 44, 4, 44, 60, 4]})
    for t in np.linspace(0, 1, 50):
        assert mask[int(4 + 40 * t), int(4 + 56 * t)] == 255
        assert mask[int(44 - 40 * t), int(4 + 56 * t)] == 255


def test_the_eraser_removes_earlier_strokes_and_not_later_ones():
    dot = {"radius": 8, "points": [32, 24]}
    assert not draw_mask(dot, {"radius": 20, "points": [32, 24], "erase": True}).any()
    assert (
        draw_mask({"radius": 20, "points": [32, 24], "erase": True}, dot) == draw_mask(dot)
    ).all()


def test_a_sketch_covers_the_image_and_the_eraser_reveals_it():
    image = Image.new("RGB", SIZE, (0, 0, 255))
    red = {"radius": 6, "points": [20, 24, 44, 24], "colour": "#ff0000"}
    painted = parse_strokes(
        to_json(red, {"radius": 6, "points": [44, 24], "erase": True}), SIZE
    ).paint_over(image)
    assert painted.getpixel((20, 24)) == (255, 0, 0)
    assert painted.getpixel((44, 24)) == painted.getpixel((2, 2)) == (0, 0, 255)
    assert image.getpixel((20, 24)) == (0, 0, 255)


numbers = st.floats(-100, 200).map(lambda value: round(value, 1))
strokes = st.fixed_dictionaries(
    {
        "radius": st.floats(0.1, 60),
        "points": st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9),
    },
    optional={"erase": st.booleans()},
).map(lambda stroke: {**stroke, "points": [v for point in stroke["points"] for v in point]})


@given(st.lists(strokes, max_size=5))
def test_strokes_give_a_reproducible_mask_of_the_images_size(painted: list[dict[str, Any]]):
    text = to_json(*painted)
    mask = parse_strokes(text, SIZE).to_mask()
    assert mask.size == SIZE
    assert set(mask.tobytes()) <= {0, 255}
    assert mask.tobytes() == parse_strokes(text, SIZE).to_mask().tobytes()


BAD = [
    "nonsense",
    "[]",
    "1",
    "null",
    '{"strokes": []}',
    '{"size": [64, 48], "strokes": [1]}',
    '{"size": [64, 48], "strokes": [{"radius": NaN, "points": [1, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1, "points": [Infinity, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1e999, "points": [1, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 0, "points": [1, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1, "points": [1, 1, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1, "points": []}]}',
    '{"size": [64, 48], "strokes": [{"radius": true, "points": [1, 1]}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1, "points": [1, 1], "colour": "red"}]}',
    '{"size": [64, 48], "strokes": [{"radius": 1, "points": [1, 1], "colour": ["#ff0000"]}]}',
    "[" * 100_000,
    json.dumps({"size": SIZE, "strokes": [{"radius": 1, "points": [1.5] * 2 * (MAX_POINTS + 1)}]}),
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:60])
def test_invalid_strokes_are_refused_in_one_sentence(text: str):
    with pytest.raises(
        UserError, match=r"^The brush strokes cannot be read\. Clear it and paint again\.$"
    ):
        parse_strokes(text, SIZE)


def test_strokes_for_another_size_are_refused_with_both_sizes():
    with pytest.raises(UserError, match="painted on a picture of 8x8, but this one is 64x48"):
        parse_strokes(to_json({"radius": 1, "points": [1, 1]}, size=(8, 8)), SIZE)


def test_another_size_is_accepted_if_there_are_no_strokes():
    assert parse_strokes(to_json(size=(8, 8)), SIZE).strokes == ()


def test_strokes_that_would_take_minutes_to_draw_are_refused():
    endless = to_json({"radius": 5000, "points": [0, 0, 4000, 3000] * 1000}, size=(4000, 3000))
    with pytest.raises(UserError, match="too many brush strokes for a picture of this size"):
        parse_strokes(endless, (4000, 3000))
