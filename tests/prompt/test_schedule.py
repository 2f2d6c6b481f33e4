from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompt.schedule import StepTimeline, active_text_index, schedule_texts
from tests.prompt.goldens import goldens
from tests.prompt.test_grammar import MARKS


def scheduled(text: str, timeline: StepTimeline) -> list[list[object]]:
    return [[entry.until, entry.text] for entry in schedule_texts(text, timeline)]


@pytest.mark.parametrize(("text", "expected"), goldens("spans in 10 steps"))
def test_a_prompt_changes_at_the_steps_it_names(text: str, expected: list[list[object]]):
    assert scheduled(text, StepTimeline(10)) == expected


@pytest.mark.parametrize(("text", "expected"), goldens("spans of a hires pass of 8 steps after 10"))
def test_the_hires_pass_counts_on_from_the_first(text: str, expected: list[list[object]]):
    assert scheduled(text, StepTimeline(8, first_pass_steps=10)) == expected


@pytest.mark.parametrize(("text", "expected"), goldens("spans in 10 steps by the old rules"))
def test_old_scheduling_treats_numbers_below_1_as_fractions(
    text: str, expected: list[list[object]]
):
    assert scheduled(text, StepTimeline(10, old_scheduling=True)) == expected
    assert scheduled(text, StepTimeline(8, first_pass_steps=10, old_scheduling=True)) == expected


def test_the_first_text_lasts_one_evaluation_longer_than_its_end():
    until = [5, 10]
    assert [active_text_index(until, index) for index in range(10)] == [0] * 6 + [1] * 4


def test_past_the_end_the_first_text_is_active_again():
    assert active_text_index([5, 10], 11) == 0


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(st.text(max_size=200), MARKS),
    steps=st.integers(1, 60),
    first_pass_steps=st.one_of(st.none(), st.integers(1, 60)),
    old_scheduling=st.booleans(),
)
def test_any_text_is_accepted_and_its_schedule_ends_with_the_run(
    text: str, steps: int, first_pass_steps: int | None, old_scheduling: bool
):
    timeline = StepTimeline(steps, first_pass_steps, old_scheduling)
    until = [entry.until for entry in schedule_texts(text, timeline)]
    assert until == sorted(set(until))
    assert until[-1] == timeline.length
    assert until[0] >= 1


@pytest.mark.parametrize("when", ["9" * 400, "-" + "9" * 400, "1e999", "-1e999", "0.0"])
def test_a_number_out_of_range_is_clamped(when: str):
    assert [entry.until for entry in schedule_texts(f"[a:b:{when}]", StepTimeline(10))] == [10]


def test_edits_may_nest_deeply():
    assert scheduled("[" * 400 + "a" + ":b:1]" * 400, StepTimeline(2)) == [[1, "a"], [2, "b"]]
