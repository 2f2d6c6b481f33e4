from __future__ import annotations

import pytest

from modules.infotext.text_format import Infotext, format_infotext, parse_infotext

PAIRS = "Steps: 20, Sampler: Euler a, Seed: 1"
READ = {"Steps": "20", "Sampler": "Euler a", "Seed": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", Infotext()),
        ("a cat", Infotext("a cat")),
        ("a cat\nNegative prompt: a dog", Infotext("a cat", "a dog")),
        ("Steps: 20, Seed: 1", Infotext("Steps: 20, Seed: 1")),
        (PAIRS, Infotext("", "", READ)),
        (
            f"one\n two \nNegative prompt: three\nfour\n{PAIRS}",
            Infotext("one\ntwo", "three\nfour", READ),
        ),
        (f"a\r\nNegative prompt: b\r\n{PAIRS}\r\n", Infotext("a", "b", READ)),
        (
            f'a\n{PAIRS}, Hires prompt: "x, \\"y\\": z\\nw"',
            Infotext("a", "", {**READ, "Hires prompt": 'x, "y": z\nw'}),
        ),
        (f'a\n{PAIRS}, Model: "odd', Infotext("a", "", {**READ, "Model": '"odd'})),
        (f'a\n{PAIRS}, Model: "a\\qb"', Infotext("a", "", {**READ, "Model": '"a\\qb"'})),
        (
            f"a\n{PAIRS}, Mask blur: , Tiling: True",
            Infotext("a", "", {**READ, "Mask blur": "", "Tiling": "True"}),
        ),
    ],
)
def test_a_text_is_read_as_a1111_reads_it(text: str, words: Infotext):
    assert parse_infotext(text) == words


@pytest.mark.parametrize(
    "words",
    [
        Infotext("a\nNegative prompt: b", "", READ),
        Infotext("", "c\nNegative prompt: d", READ),
        Infotext("Negative prompt: ", "x", READ),
    ],
)
def test_a_prompt_that_the_lines_cannot_say_stands_in_the_pairs_too(words: Infotext):
    text = format_infotext(words)
    assert "Exact " in text.splitlines()[-1]
    assert parse_infotext(text) == words


def test_a_usual_prompt_stands_in_its_lines_alone():
    assert (
        format_infotext(Infotext("a cat, \n dog", "b", READ))
        == f"a cat, \n dog\nNegative prompt: b\n{PAIRS}"
    )
