"""Scans the `Key: value` pairs of an infotext, in time proportional to its length. Knows nothing of prompts.

A pattern for the whole pair tries every letter of a text as the start of a key, 81 letters each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Keys that begin, or occur in, every infotext; where they are, the pairs are.
CORE_KEYS = (
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Seed",
    "Size",
    "Model hash",
    "Model",
    "VAE hash",
    "VAE",
    "Denoising strength",
    "Clip skip",
    "Hires upscale",
    "Hires steps",
    "Hires upscaler",
    "Version",
)
CORE_KEY_NAMES = frozenset(key.casefold() for key in CORE_KEYS)
NEGATIVE_KEY = "negative prompt"  # a key where the pairs are one a line
_ONE_LINE_KEYS = ("steps", "cfg scale", "seed", "size", "denoising strength", "clip skip")
# Values without non-breaking spaces of their own.
_NAME_KEYS = (*_ONE_LINE_KEYS, "sampler", "schedule type", "hires upscaler", "version")
_KEY_LENGTH = 81  # limited to keys in use
_KEY_RUN = re.compile(rf"[\w \-/\n\xa0]{{0,{_KEY_LENGTH}}}")
_KEY_START = re.compile(r"\w")
_BLANK, _SPACE = re.compile(r"[^\S\n]*"), re.compile(r"\s*")
_KEY_ON_NEXT_LINE = re.compile(r"\n[^\S\n]*(?:[-*•][^\S\n]*)?(?=\w[\w \-/\xa0]{1,80}:)")
_QUOTED = re.compile(r'"[^\\"]*(?:\\.[^\\"]*)*"', re.DOTALL)
_BRACKETS = re.compile(r'"[^\\"]*(?:\\.[^\\"]*)*"|[][{}]', re.DOTALL)
_AFTER_WHOLE = re.compile(r"[^\S\n]*(?:[,\n]|\Z)")
_CORE_KEY_INSIDE = rf"\s(?=(?:{'|'.join(CORE_KEYS)}):\s)"
_UNQUOTED_END = re.compile(rf",|\n[^\S\n]*\n|{_KEY_ON_NEXT_LINE.pattern}|{_CORE_KEY_INSIDE}")
_LINE_END = re.compile(rf"[,\n]|{_CORE_KEY_INSIDE}")
_MAX_UNBALANCED = 4  # each is searched to the end of the text


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


@dataclass
class _Scan:
    text: str
    unbalanced: int = 0


def scan_pairs(text: str, position: int = 0) -> Iterator[Pair]:
    """Yield the pairs from a position on, by the rules of the pattern that all readers of A1111's format share.

    Beyond these rules a value in brackets ends where they balance, a line may end between pairs or within one, and a
    core key after a space begins a pair.
    """
    scan = _Scan(text)
    while (colon := text.find(":", position)) >= 0:
        found = _find_key(text, position, colon)
        if found is None:
            position = colon + 1
            continue
        key, start = found
        value, end = _find_value(scan, key.casefold(), start, colon + 1)
        yield Pair(key, value, start, end)
        position = end + 1


def unquote(text: str) -> str:
    """Return the value without its JSON quotes; unquoted text is returned unchanged."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return text
    # "\\ud800" is half a character, which nothing can store or send.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else text


def _find_key(text: str, position: int, colon: int) -> tuple[str, int] | None:
    """Return the key before a colon and where it starts: two to 81 letters, digits, spaces, hyphens or slashes."""
    before = text[max(position, colon - _KEY_LENGTH) : colon]
    run = _KEY_RUN.match(before[::-1])
    begin = len(before) - (run.end() if run else 0)
    newline = before.rfind("\n", begin)
    if newline >= 0:
        lines = before[begin:].strip().split("\n")
        is_broken = len(lines) == 2 and begin == 0 and text[position - 1 : position] == ","
        if not is_broken and " ".join(before[begin:].split()).casefold() not in CORE_KEY_NAMES:
            begin = newline + 1
    first = _KEY_START.search(before, begin)
    if first is None or first.start() > len(before) - 2:
        return None
    key = before[first.start() :].strip()
    key = " ".join(key.split()) if "\n" in key else key.replace("\xa0", " ")
    return key, colon - len(before) + first.start()


def _find_value(scan: _Scan, key: str, start: int, position: int) -> tuple[str, int]:
    """Return the value that starts at a position, and where it ends."""
    text = scan.text
    begin = _end(_BLANK, text, position)
    if text[begin : begin + 1] == "\n":
        if _KEY_ON_NEXT_LINE.match(text, begin):
            return "", begin
        begin = _end(_SPACE, text, begin)
    end = _find_whole_end(scan, begin)
    if end is not None:
        return text[begin:end], end
    is_line = key == NEGATIVE_KEY and text[start - 1 : start] == "\n"
    pattern = _KEY_ON_NEXT_LINE if is_line else _UNQUOTED_END
    stop = (_LINE_END if key in _ONE_LINE_KEYS else pattern).search(text, begin)
    end = stop.start() if stop else len(text)
    value = text[begin:end]
    if stop and stop[0] != ",":
        value = value.rstrip(" |;")
    separator = "\n" if is_line else " "
    lines = separator.join(map(str.strip, value.split("\n")))
    return (lines.replace("\xa0", " ") if key in _NAME_KEYS else lines).strip(), end


def _find_whole_end(scan: _Scan, begin: int) -> int | None:
    """Return where a value in quotes or brackets ends; None for any other."""
    text, end = scan.text, None
    if text[begin : begin + 1] == '"':
        quoted = _QUOTED.match(text, begin)
        end = quoted.end() if quoted else None
    elif text[begin : begin + 1] in ("{", "[") and scan.unbalanced < _MAX_UNBALANCED:
        end = _find_balance(text, begin)
        scan.unbalanced += end is None
    return end if end is not None and _AFTER_WHOLE.match(text, end) else None


def _find_balance(text: str, begin: int) -> int | None:
    depth = 0
    for match in _BRACKETS.finditer(text, begin):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return None


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
