"""A1111's text format: both prompts and a line of `Key: value` pairs. Knows nothing of what the keys mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from modules.infotext.pairs import scan_pairs

MAX_LENGTH = 2**20  # a hundred times the longest infotext in use
_MAX_PAIRS = 1000
_MIN_PAIRS = 3  # a line with fewer belongs to the prompt, as in A1111
NEGATIVE_PROMPT_PREFIX = "Negative prompt:"
# Keys for a prompt that the lines above the pairs cannot represent, such as one that contains "Negative prompt: ...".
EXACT_PROMPT = "Exact prompt"
EXACT_NEGATIVE = "Exact negative prompt"


@dataclass(frozen=True)
class Infotext:
    """A parsed infotext.

    Args:
        prompt: Lines without outer spaces.
        negative_prompt: Lines without outer spaces.
        pairs: Keys as written, values unquoted.
        origin: The program, if a format other than A1111's named it; otherwise it is detected from the pairs.
        warnings: Sentences about what the conversion from another format lost.
    """

    prompt: str = ""
    negative_prompt: str = ""
    pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    origin: str = ""
    warnings: tuple[str, ...] = ()


def parse_infotext(text: str, max_length: int = MAX_LENGTH) -> Infotext:
    """Return the parsed infotext; text without a line of pairs is all prompt, and so is one that is too long."""
    *lines, last = text.replace("\r\n", "\n").strip().split("\n")
    is_too_long = len(text) > max_length
    found = [] if is_too_long else list(islice(scan_pairs(last), _MAX_PAIRS))
    if len(found) < _MIN_PAIRS:
        lines, found = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE_PROMPT_PREFIX):
            current = negative
            line = line.removeprefix(NEGATIVE_PROMPT_PREFIX).strip()
        current.append(line)
    pairs = {pair.key: unquote(pair.value) for pair in found}
    too_long = (
        f"The text has {len(text)} characters, and parameters are read from at most {max_length}; "
        "all of it is taken as the prompt."
    )
    # Not `or`: an exact prompt may be empty.
    return Infotext(
        pairs.pop(EXACT_PROMPT, "\n".join(prompt).strip()),
        pairs.pop(EXACT_NEGATIVE, "\n".join(negative).strip()),
        pairs,
        warnings=(too_long,) if is_too_long else (),
    )


def format_infotext(infotext: Infotext) -> str:
    """Return the infotext in A1111's format; `parse_infotext` reverses it."""
    pair_line = ", ".join(f"{key}: {quote(value)}" for key, value in infotext.pairs.items())
    text = _join(infotext.prompt, infotext.negative_prompt, pair_line)
    if len(infotext.pairs) < _MIN_PAIRS:
        return text
    parsed = parse_infotext(text)
    exact = {
        key: json.dumps(original, ensure_ascii=False)
        for key, original, read_back in (
            (EXACT_PROMPT, infotext.prompt, parsed.prompt),
            (EXACT_NEGATIVE, infotext.negative_prompt, parsed.negative_prompt),
        )
        if read_back != strip_lines(original)
    }
    if not exact:
        return text
    exact_pairs = ", ".join(f"{key}: {value}" for key, value in exact.items())
    return _join(infotext.prompt, infotext.negative_prompt, f"{pair_line}, {exact_pairs}")


def strip_lines(prompt: str) -> str:
    """Return a prompt as an infotext holds it, without outer spaces of its lines; a tokenizer reads it the same."""
    return "\n".join(map(str.strip, prompt.split("\n"))).strip()


def quote(value: object) -> str:
    """Return the value as A1111 writes it: in JSON quotes if it contains a comma, a colon or a newline.

    Values with outer spaces or a leading quotation mark are quoted as well: they would not be read back otherwise.
    """
    text = format_number(value) if isinstance(value, float) else str(value)
    if any(mark in text for mark in ",:\n") or text.startswith('"') or text != text.strip():
        return json.dumps(text, ensure_ascii=False)
    return text


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


def format_number(value: float) -> str:
    """Return the shortest text of the same number; whole numbers without a decimal point, as A1111's page does."""
    return str(int(value)) if value.is_integer() else str(value)


def _join(prompt: str, negative: str, pair_line: str) -> str:
    lines = [prompt]
    if negative:
        lines.append(f"{NEGATIVE_PROMPT_PREFIX} {negative}")
    return "\n".join([*lines, pair_line]).strip()
