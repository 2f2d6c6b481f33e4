from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.schedule import ScheduledText, StepTimeline
from modules.prompt.sub_prompts import (
    SubPrompt,
    count_tokens,
    parse_negative_prompt,
    parse_prompt,
    split_at_and,
    strip_comments,
)
from modules.prompt.tokens import ClipTokenizer
from tests.prompt.goldens import goldens
from tests.prompt.test_grammar import MARKS

TEN = StepTimeline(10)


def test_a_prompt_is_split_at_and_and_by_step_without_its_networks():
    sub_prompts = parse_prompt("a<lora:x:1> AND [b:c:3] :0.5", TEN)
    assert sub_prompts == (
        SubPrompt((ScheduledText(10, "a"),)),
        SubPrompt((ScheduledText(3, " b"), ScheduledText(10, " c")), 0.5),
    )


def test_in_a_negative_prompt_and_and_networks_are_plain_text():
    sub_prompt = parse_negative_prompt("a AND <lora:x:1> [b:c:3]", TEN)
    assert [scheduled.text for scheduled in sub_prompt.texts] == [
        "a AND <lora:x:1> b",
        "a AND <lora:x:1> c",
    ]


def test_the_token_count_is_of_the_longest_text(tokenizer: ClipTokenizer):
    sub_prompts = parse_prompt("cat [a:a big cat:5] AND cat", TEN)
    assert count_tokens(sub_prompts, Chunker(tokenizer)) == TokenCount(4, 75)


@pytest.mark.parametrize(("prompt", "expected"), goldens("parts"))
def test_and_splits_a_prompt_into_weighted_parts(prompt: str, expected: list[list[object]]):
    assert [[part.text, part.weight] for part in split_at_and(prompt)] == expected


@given(prompt=st.one_of(st.text(max_size=200), MARKS))
def test_split_at_and_accepts_any_text(prompt: str):
    assert split_at_and(prompt)


@pytest.mark.parametrize(("prompt", "expected"), goldens("comments"))
def test_comments_are_removed_from_a_prompt(prompt: str, expected: str):
    assert strip_comments(prompt) == expected
