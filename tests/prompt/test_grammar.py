from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from modules.prompt.grammar import Alternation, Edit, parse

MARKS = st.lists(
    st.sampled_from(
        [
            "a",
            " ",
            "[",
            "]",
            "(",
            ")",
            ":",
            "|",
            "0.5",
            "3",
            "\\",
            "BREAK",
            "AND",
            "\n",
            "<lora:x:1>",
            "#",
        ]
    ),
    max_size=40,
).map("".join)


def test_an_edit_has_before_after_and_when():
    assert parse("x [a:b:0.5]").nodes == ("x ", Edit(("a",), ("b",), "0.5"))


def test_a_single_text_is_added_and_with_two_colons_removed():
    assert parse("[a:3]").changes == (Edit((), ("a",), "3"),)
    assert parse("[a::3]").changes == (Edit(("a",), (), "3"),)


def test_an_alternation_has_its_options_including_empty_ones():
    assert parse("[a|b|]").changes == (Alternation((("a",), ("b",), ())),)


def test_changes_nest_and_all_are_listed():
    tree = parse("[a:[b|c]:3]")
    assert tree.changes == (Alternation((("b",), ("c",))), tree.nodes[0])


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.text(max_size=200), MARKS))
def test_a_text_without_changes_is_unchanged(text: str):
    tree = parse(text)
    if not tree.changes:
        assert "".join(node for node in tree.nodes if isinstance(node, str)) == text


def test_brackets_nest_up_to_a_depth_that_nobody_reaches():
    assert len(parse("[" * 400 + "a" + ":b:1]" * 400).changes) == 400
    too_deep = "[" * 5000 + "a" + ":b:1]" * 5000
    assert parse(too_deep).nodes == (too_deep,)
    assert not parse("(" * 20_000 + "[a" * 20_000).changes
