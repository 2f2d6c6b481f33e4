from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompt.emphasis import parse_emphasis
from tests.prompt.goldens import goldens
from tests.prompt.test_grammar import MARKS


@pytest.mark.parametrize(("text", "expected"), goldens("emphasis"))
def test_brackets_become_weights(text: str, expected: list[list[list[object]]]):
    sections = parse_emphasis(text)
    assert [[piece.text for piece in section] for section in sections] == [
        [piece[0] for piece in section] for section in expected
    ]
    assert [piece.weight for section in sections for piece in section] == pytest.approx(
        [piece[1] for section in expected for piece in section], abs=1e-5
    )


def test_weights_multiply_when_brackets_nest():
    ((outer, inner),) = parse_emphasis("(a (b:1.5):2)")
    assert (outer.weight, inner.weight) == (2, 3)


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=200), MARKS))
def test_parse_emphasis_accepts_any_text(text: str):
    assert parse_emphasis(text)


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(st.characters(exclude_characters="()[]\\"), max_size=100).filter(
        lambda t: "BREAK" not in t
    )
)
def test_a_text_without_brackets_is_one_piece(text: str):
    assert [
        [(piece.text, piece.weight) for piece in section] for section in parse_emphasis(text)
    ] == [[(text, 1.0)] if text else []]
