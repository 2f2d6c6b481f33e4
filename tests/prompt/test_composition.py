from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.prompt.sub_prompts import split_at_and
from tests.prompt.goldens import goldens
from tests.prompt.test_grammar import MARKS


@pytest.mark.parametrize(("prompt", "expected"), goldens("parts"))
def test_and_divides_a_prompt_into_weighted_parts(prompt: str, expected: list[list[object]]):
    assert [[part.text, part.weight] for part in split_at_and(prompt)] == expected


@given(prompt=st.one_of(st.text(max_size=200), MARKS))
def test_no_text_raises(prompt: str):
    assert split_at_and(prompt)
