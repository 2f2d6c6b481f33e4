from __future__ import annotations

import pytest

from modules.infotext.text_format import Infotext, format_infotext, parse_infotext

PAIRS = "Steps: 20, Sampler: Euler a, Seed: 1"
PARSED = {"Steps": "20", "Sampler": "Euler a", "Seed": "1"}


@pytest.mark.parametrize(
    ("text", "infotext"),
    [
        ("", Infotext()),
        ("a cat", Infotext("a cat")),
        ("a cat\nNegative prompt: a dog", Infotext("a cat", "a dog")),
        ("Steps: 20, Seed: 1", Infotext("Steps: 20, Seed: 1")),
        (PAIRS, Infotext("", "", PARSED)),
        (
            f"one\n two \nNegative prompt: three\nfour\n{PAIRS}",
            Infotext("one\ntwo", "three\nfour", PARSED),
        ),
        (f"a\r\nNegative prompt: b\r\n{PAIRS}\r\n", Infotext("a", "b", PARSED)),
        (
            f'a\n{PAIRS}, Hires prompt: "x, \\"y\\": z\\nw"',
            Infotext("a", "", {**PARSED, "Hires prompt": 'x, "y": z\nw'}),
        ),
        (f'a\n{PAIRS}, Model: "odd', Infotext("a", "", {**PARSED, "Model": '"odd'})),
        (f'a\n{PAIRS}, Model: "a\\qb"', Infotext("a", "", {**PARSED, "Model": '"a\\qb"'})),
        (
            f"a\n{PAIRS}, Mask blur: , Tiling: True",
            Infotext("a", "", {**PARSED, "Mask blur": "", "Tiling": "True"}),
        ),
    ],
)
def test_an_infotext_is_parsed_as_in_a1111(text: str, infotext: Infotext):
    assert parse_infotext(text) == infotext


@pytest.mark.parametrize(
    "infotext",
    [
        Infotext("a\nNegative prompt: b", "", PARSED),
        Infotext("", "c\nNegative prompt: d", PARSED),
        Infotext("Negative prompt: ", "x", PARSED),
    ],
)
def test_a_prompt_that_the_lines_cannot_represent_is_also_written_as_a_pair(infotext: Infotext):
    text = format_infotext(infotext)
    assert "Exact " in text.splitlines()[-1]
    assert parse_infotext(text) == infotext


def test_an_ordinary_prompt_is_written_only_once():
    assert (
        format_infotext(Infotext("a cat, \n dog", "b", PARSED))
        == f"a cat, \n dog\nNegative prompt: b\n{PAIRS}"
    )


def test_a_text_that_is_too_long_is_a_prompt_and_says_so():
    infotext = parse_infotext(f"a cat\n{PAIRS}", max_length=20)
    assert (infotext.prompt, infotext.pairs) == (f"a cat\n{PAIRS}", {})
    assert infotext.warnings == (
        "The text has 42 characters, and parameters are read from at most 20; all of it is taken as the prompt.",
    )
