"""Patterns of tensors to leave out: what they mean, and that none can hang the program."""

from __future__ import annotations

import time

import pytest

from modules.core.errors import UserError
from modules.models.merging.discard import MAX_PATTERN_LENGTH, discard_names

NAMES = ["model_ema.decay", "model_ema.inputs", "first_stage_model.decoder.conv.weight"]


def test_names_in_which_a_pattern_is_found_anywhere_are_left_out():
    assert discard_names("", NAMES) == set()
    assert discard_names("ema", NAMES) == set(NAMES[:2])
    assert discard_names(r"decoder\.|decay$", NAMES) == {NAMES[0], NAMES[2]}


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "*",
        "a{2}{3}*",
        "(?P<x",
        "[" * 900,
        "(" * 450 + ")" * 450,
        "a" * (MAX_PATTERN_LENGTH + 1),
    ],
)
def test_what_is_no_pattern_is_one_sentence(pattern: str):
    with pytest.raises(UserError, match=r"^The pattern"):
        discard_names(pattern, NAMES)


@pytest.mark.parametrize("pattern", ["(a+)+b", r"(\w+\.?)+[:b]", "(?:(?:a{1,100}){1,100}){1,100}b"])
def test_a_pattern_without_end_is_given_up(pattern: str):
    started = time.thread_time()
    with pytest.raises(UserError, match=r"takes more than 0\.2 seconds"):
        discard_names(pattern, ["a" * 500] * 3, timeout_s=0.2)
    assert time.thread_time() - started < 5
