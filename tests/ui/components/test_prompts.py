from __future__ import annotations

import pytest

from modules.engine.engine import Engine
from modules.prompt.styles import Style
from modules.ui.components.prompts import count_prompt_tokens


def counter(
    engine: Engine,
    text: str,
    name: str = "prompt",
    styles: tuple[str, ...] = (),
    steps: float = 20.0,
) -> str:
    return (
        count_prompt_tokens(engine, name, text, list(styles), steps)
        .removeprefix('<span class="counter">')
        .removesuffix("</span>")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "0/75"),
        ("a cat", "2/75"),
        ("(a:1.3) [cat]", "2/75"),
        ("a <lora:ink:0.8> cat", "2/75"),
        ("[cat:a big cat:0.5]", "3/75"),
        ("cat AND a cat", "2/75"),
        ("a cat # and a comment", "2/75"),
        ("cat BREAK cat", "76/150"),
        ("cat " * 80, "80/150"),
    ],
)
def test_the_counter_shows_the_length_of_the_longest_encoded_text(
    engine: Engine, text: str, expected: str
):
    assert counter(engine, text) == expected


def test_and_is_an_ordinary_word_in_the_negative_prompt(engine: Engine):
    assert counter(engine, "cat AND a cat", name="negative_prompt") == "4/75"


def test_text_that_is_scheduled_after_the_last_step_does_not_count(engine: Engine):
    assert counter(engine, "[cat:a big cat:30]", steps=20.0) == "1/75"
    assert counter(engine, "[cat:a big cat:30]", steps=40.0) == "3/75"


def test_chosen_styles_count(engine: Engine):
    engine.styles.save(Style("ink", "{prompt}, ink", "photo"))
    assert counter(engine, "a cat", styles=("ink",)) == "4/75"
    assert counter(engine, "", name="negative_prompt", styles=("ink",)) == "1/75"
    assert counter(engine, "a cat", styles=("gone",)) == "?"
