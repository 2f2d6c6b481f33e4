"""Scans the `Key: value` pairs of an infotext, in time proportional to its length. Knows nothing of prompts.

A pattern for the whole pair tries every letter of a text as the start of a key, 81 letters each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_KEY_LENGTH = 81  # limited to keys in use
_KEY_RUN = re.compile(rf"[\w \-/]{{0,{_KEY_LENGTH}}}")
_KEY_START = re.compile(r"\w")
_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r'"[^\\"]*(?:\\.[^\\"]*)*"', re.DOTALL)
_UNQUOTED = re.compile(r"[^,]*")


@dataclass(frozen=True)
class Pair:
    """One pair as written.

    Args:
        key: Without outer spaces.
        value: Without outer spaces, quoted if it was.
        start: Index of the key's first character.
        end: Index behind the value.
    """

    key: str
    value: str
    start: int
    end: int


def scan_pairs(text: str) -> Iterator[Pair]:
    """Yield the pairs of a line, in the order and by the rules of the pattern that all readers of A1111's format share."""
    position = 0
    while (colon := text.find(":", position)) >= 0:
        start = _find_key(text, position, colon)
        if start is None:
            position = colon + 1
            continue
        value, end = _find_value(text, colon + 1)
        yield Pair(text[start:colon].strip(), value.strip(), start, end)
        position = end + 1


def _find_key(text: str, position: int, colon: int) -> int | None:
    """Return where the key before a colon starts: two to 81 letters, digits, spaces, hyphens or slashes."""
    before = text[max(position, colon - _KEY_LENGTH) : colon]
    run = _KEY_RUN.match(before[::-1])
    first = _KEY_START.search(before, len(before) - (run.end() if run else 0))
    if first is None or first.start() > len(before) - 2:
        return None
    return colon - len(before) + first.start()


def _find_value(text: str, position: int) -> tuple[str, int]:
    """Return the value that starts at a position and where it ends; in quotes it may contain commas."""
    space = _SPACE.match(text, position)
    begin = space.end() if space else position
    quoted = _QUOTED.match(text, begin)
    if quoted and text[quoted.end() : quoted.end() + 1] in ("", ","):
        return quoted[0], quoted.end()
    unquoted = _UNQUOTED.match(text, begin)
    end = unquoted.end() if unquoted else begin
    return text[begin:end], end
