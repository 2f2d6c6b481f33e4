from __future__ import annotations

import pytest

from modules.infotext.words import Words, parse, render

PAIRS = "Steps: 20, Sampler: Euler a, Seed: 1"
READ = {"Steps": "20", "Sampler": "Euler a", "Seed": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", Words()),
        ("a cat", Words("a cat")),
        ("a cat\nNegative prompt: a dog", Words("a cat", "a dog")),
        ("Steps: 20, Seed: 1", Words("Steps: 20, Seed: 1")),
        (PAIRS, Words("", "", READ)),
        (
            f"one\n two \nNegative prompt: three\nfour\n{PAIRS}",
            Words("one\ntwo", "three\nfour", READ),
        ),
        (f"a\r\nNegative prompt: b\r\n{PAIRS}\r\n", Words("a", "b", READ)),
        (
            f'a\n{PAIRS}, Hires prompt: "x, \\"y\\": z\\nw"',
            Words("a", "", {**READ, "Hires prompt": 'x, "y": z\nw'}),
        ),
        (f'a\n{PAIRS}, Model: "odd', Words("a", "", {**READ, "Model": '"odd'})),
        (f'a\n{PAIRS}, Model: "a\\qb"', Words("a", "", {**READ, "Model": '"a\\qb"'})),
        (
            f"a\n{PAIRS}, Mask blur: , Tiling: True",
            Words("a", "", {**READ, "Mask blur": "", "Tiling": "True"}),
        ),
    ],
)
def test_a_text_is_read_as_a1111_reads_it(text: str, words: Words):
    assert parse(text) == words


@pytest.mark.parametrize(
    "words",
    [
        Words("a\nNegative prompt: b", "", READ),
        Words("", "c\nNegative prompt: d", READ),
        Words("Negative prompt: ", "x", READ),
    ],
)
def test_a_prompt_that_the_lines_cannot_say_stands_in_the_pairs_too(words: Words):
    text = render(words)
    assert "Exact " in text.splitlines()[-1]
    assert parse(text) == words


def test_a_usual_prompt_stands_in_its_lines_alone():
    assert (
        render(Words("a cat, \n dog", "b", READ)) == f"a cat, \n dog\nNegative prompt: b\n{PAIRS}"
    )
