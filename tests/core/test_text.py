from __future__ import annotations

import json
import os

import pytest

from modules.core.errors import UserError, internal_error
from modules.core.text import escape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", "a cat"),
        ("café 猫 🐈", "café 猫 🐈"),
        ("a\ud800b", "a\\ud800b"),
        ("\udfff", "\\udfff"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
    ],
)
def test_only_half_characters_are_escaped(text: str, expected: str):
    assert escape(text) == expected
    assert json.loads(escape(text).encode().join([b'"', b'"']).replace(b"\\", b"\\\\")) == expected


def test_the_sentence_of_an_error_can_be_stored_and_sent():
    error = UserError("No file 'caf\udce9'.", "Rename '\ud83d'.")
    assert (str(error), *error.args) == (
        "No file 'caf\\xe9'. Rename '\\ud83d'.",
        "No file 'caf\\xe9'.",
    )


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("Too large."), "Too large."),
        (ValueError("\ud800"), "Internal error: ValueError: \\ud800. The log has the details."),
        (KeyboardInterrupt(), "Internal error: KeyboardInterrupt. The log has the details."),
        (Odd(), "Internal error: Odd. The log has the details."),
    ],
)
def test_any_error_becomes_a_sentence(error: BaseException, sentence: str):
    assert str(internal_error(error)) == sentence
