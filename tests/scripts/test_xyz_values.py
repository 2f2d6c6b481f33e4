"""A1111's syntax of the values of an axis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.core.errors import UserError
from modules.scripts.xyz_plot.values import (
    join_values,
    read_booleans,
    read_floats,
    read_integers,
    read_permutations,
    split_values,
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1, 5,\n9", [1, 5, 9]),
        ("1-5", [1, 2, 3, 4, 5]),
        ("1-6 (+2), 20", [1, 3, 5, 20]),
        ("6-2 (-2)", [6, 4]),  # it stops before end + 1
        ("-3--1", [-3, -2, -1]),
        ("1-10 [4]", [1, 4, 7, 10]),
        ("1-10 [3]", [1, 5, 10]),  # 5.5 is cut
        ("7-9 [1]", [7]),
        ("5-1", []),
        ("-1", [-1]),
        (str(2**64 - 1), [2**64 - 1]),
    ],
)
def test_whole_numbers(text: str, values: list[int]):
    assert read_integers(text) == values
    assert all(type(value) is int for value in read_integers(text))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5, 1", [0.5, 1.0]),
        ("1-3", [1.0, 2.0, 3.0]),
        ("0-1 (+0.3)", [0.0, 0.3, 0.6, 0.9, 1.2]),  # it may exceed the end
        ("1-3 [3]", [1.0, 2.0, 3.0]),
        ("0-1 [5]", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("1-0 (-.5)", [1.0, 0.5, 0.0]),
        ("-1.5--1 [2]", [-1.5, -1.0]),
    ],
)
def test_numbers(text: str, values: list[float]):
    assert read_floats(text) == values


def test_booleans_and_orders():
    assert read_booleans("True, false,TRUE") == [True, False, True]
    assert read_permutations("a, b, c")[:3] == [("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c")]
    assert len(read_permutations("a, b, c, d")) == 24


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (read_integers, "1, x", "'x' is no whole number and no range."),
        (read_integers, "1.5", "'1.5' is no whole number and no range."),
        (read_integers, "1-5 (0)", "'1-5 (0)' is no whole number and no range."),
        (read_integers, "1-99999999999999999999", "it has 99999999999999999999 values."),
        (read_floats, "nan", "'nan' is no number and no range."),
        (read_floats, "0-1 (+0)", "'0-1 (+0)' is no number and no range."),
        (read_floats, "0-1 (+0.0000001)", "it has 10000001 values."),
        (read_floats, "0-1 [99999]", "it has 99999 values."),
        (read_booleans, "maybe", "'maybe' is neither true nor false."),
        (read_permutations, "1,2,3,4,5,6,7,8", "8 words have 40320 orders."),
    ],
)
def test_what_does_not_fit_is_named(read: object, text: str, words: str):
    assert callable(read)
    with pytest.raises(UserError, match=r".") as error:
        read(text)
    assert error.value.message == words


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1
    )
)
def test_values_that_are_joined_are_the_same_when_they_are_split(values: list[str]):
    assert split_values(join_values(values)) == values
