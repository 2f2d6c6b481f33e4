"""Finds the pairs of an infotext in a text that was pasted, wrapped, fenced or joined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from modules.infotext.pairs import (
    CORE_KEY_NAMES,
    CORE_KEYS,
    NEGATIVE_KEY,
    Pair,
    scan_pairs,
    unquote,
)

MIN_PAIRS = 3  # fewer belong to the prompt, as in A1111
_MAX_PAIRS = 1000
_MAX_STARTS = 8  # each is read to the end of the text
_STEPS_LINE = re.compile(
    r'^[^\S\n]*(?:[-*•][^\S\n]*)?(steps[^\S\n]*:\s*"?\d)', re.IGNORECASE | re.MULTILINE
)
_STEPS_INSIDE = re.compile(r"(?<![\w-])(?<!hires )steps[^\S\n]*:\s*\d", re.IGNORECASE)
_CORE_LINE = re.compile(
    rf"^[^\S\n]*(?:[-*•][^\S\n]*)?((?:{'|'.join(CORE_KEYS)})[^\S\n]*:)",
    re.IGNORECASE | re.MULTILINE,
)
_NEGATIVE_INSIDE = re.compile(r"(?<!\w)negative prompt\s*:", re.IGNORECASE)
_QUOTE = re.compile(r'(?<!\\)"')
_NUMBERS = ("seed", "size", "cfg scale")  # a prompt may have lines such as "Model: a man"
_ESCAPED_LINE = re.compile(r"\\n(?=\s*(?:negative prompt|steps)\s*:)", re.IGNORECASE)
_FENCE = "```"


@dataclass(frozen=True)
class PairBlock:
    """Where the pairs of an infotext are.

    Args:
        head: The text above the pairs, which holds the prompts; lines end in "\\n".
        pairs: As written; none if the text has no pairs.
        rest: The text behind the last pair, where it belongs to none.
    """

    head: str
    pairs: tuple[Pair, ...] = ()
    rest: str = ""


def _clean_text(text: str) -> str:
    """Return a text without what files, mails and forums add around it."""
    text = text.replace("\0", "").replace("\ufeff", "")
    text = text.replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").strip()
    if _is_escaped(text):
        quoted = unquote(text)
        text = quoted if quoted != text else text.replace("\\n", "\n")
    if text.startswith(">"):
        lines = text.split("\n")
        if all(line.startswith(">") for line in lines if line.strip()):
            text = "\n".join(line.removeprefix(">").strip() for line in lines).strip()
    return _remove_fence(text)


def _is_escaped(text: str) -> bool:
    """Return whether a text is from JSON, its line breaks written as two characters."""
    is_one_line = "\n" not in text and _STEPS_LINE.match(text) is None
    return is_one_line and _ESCAPED_LINE.search(text) is not None


def find_pairs(text: str) -> PairBlock:
    """Return the pairs of a text; where they are its last line, they are found as A1111 does."""
    text = text.replace("\r\n", "\n").strip().removeprefix("\ufeff").strip("\0")
    cleaned = _clean_text(text)
    is_fenced = _FENCE in text[text.rfind("\n") + 1 :] or _is_escaped(text)
    for candidate in (cleaned,) if is_fenced else (text, cleaned):
        last_start = candidate.rfind("\n") + 1
        last = _scan(candidate, last_start)
        if _is_last_line(candidate, last_start, last):
            return PairBlock(candidate[:last_start].replace("\0", ""), last)
    block = _find_steps_line(cleaned) or _find_steps_inside(cleaned) or _find_core_lines(cleaned)
    if block is not None:
        return block
    last_start = text.rfind("\n") + 1
    last = _scan(text, last_start)
    return PairBlock(text[:last_start], last) if len(last) >= MIN_PAIRS else PairBlock(text)


def _is_last_line(text: str, last_start: int, last: tuple[Pair, ...]) -> bool:
    """Return whether the pairs are the last line, all of it and nothing else."""
    if len(last) < MIN_PAIRS:
        return False
    keys = [pair.key.casefold() for pair in last]
    if "steps" not in keys:
        return _STEPS_INSIDE.search(text) is None
    is_alone = not text[last_start : last[0].start].strip()
    is_key = keys[0] in CORE_KEY_NAMES or (last_start > 0 and not keys[0].endswith(NEGATIVE_KEY))
    is_open = len(_QUOTE.findall(text, last_start)) % 2 == 1
    return is_alone and is_key and not (is_open and _STEPS_LINE.search(text, 0, last_start))


def _find_steps_line(text: str) -> PairBlock | None:
    """Return the pairs from the last line that begins with the steps; a line within a value is none."""
    starts = {match.start(1) for match in _STEPS_LINE.finditer(text)}
    if not starts:
        return None
    found: list[Pair] = []
    for pair in scan_pairs(text, min(starts)):
        if pair.start in starts:
            found = []
        if len(found) < _MAX_PAIRS:
            found.append(pair)
    return _make_block(text, tuple(found)) if len(found) >= MIN_PAIRS else None


def _find_steps_inside(text: str) -> PairBlock | None:
    """Return the pairs of a text that is one line: they begin with the first steps that other core keys follow."""
    for match in islice(_STEPS_INSIDE.finditer(text), _MAX_STARTS):
        found = _scan(text, match.start())
        if _count_core_keys(found) >= MIN_PAIRS:
            block = _make_block(text, found)
            head = _NEGATIVE_INSIDE.sub("\nNegative prompt:", block.head, count=1)
            lines = (line.strip().removesuffix(",") for line in head.split("\n"))
            return PairBlock("\n".join(lines), block.pairs, block.rest)
    return None


def _find_core_lines(text: str) -> PairBlock | None:
    """Return the pairs of a text that has one a line, but no steps."""
    for match in islice(_CORE_LINE.finditer(text), _MAX_STARTS):
        found = _scan(text, match.start(1))
        lines = text.count("\n", match.start()) + 1
        is_number = any(
            pair.key.casefold() in _NUMBERS and pair.value[:1].isdigit() for pair in found
        )
        if is_number and _count_core_keys(found) >= max(MIN_PAIRS, lines):
            return _make_block(text, found)
    return None


def _scan(text: str, start: int) -> tuple[Pair, ...]:
    return tuple(islice(scan_pairs(text, start), _MAX_PAIRS))


def _count_core_keys(pairs: tuple[Pair, ...]) -> int:
    return len({pair.key.casefold() for pair in pairs} & CORE_KEY_NAMES)


def _make_block(text: str, pairs: tuple[Pair, ...]) -> PairBlock:
    head = text[: pairs[0].start].rstrip(" \t-*•") if pairs else text
    return PairBlock(head, pairs, text[pairs[-1].end :].strip(" ,.;|\n\t`"))


def _remove_fence(text: str) -> str:
    """Return the fenced part of a text, if that is where the pairs are."""
    if _FENCE not in text:
        return text
    last_line = text[text.rfind("\n") + 1 :]
    if len(_scan(last_line, 0)) >= MIN_PAIRS and _FENCE not in last_line:
        return text
    for fenced in text.split(_FENCE)[1::2]:
        if _STEPS_INSIDE.search(fenced):
            language, newline, rest = fenced.partition("\n")
            return (
                rest if newline and " " not in language.strip() and ":" not in language else fenced
            ).strip()
    return text
