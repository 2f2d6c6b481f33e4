"""An infotext as words: both prompts and pairs of `Key: value`. Knows nothing of what the keys mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# The rule that all readers of A1111's form share; a key is no longer than any in use, so that no text makes it slow.
_PAIR = re.compile(r'(\w[\w \-/]{1,80}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_LEAST_PAIRS = 3  # a line with fewer is prompt, as in A1111
NEGATIVE_PROMPT_PREFIX = "Negative prompt:"
# Carry a prompt that the lines above the pairs cannot say, such as one with a line "Negative prompt: ..." of its own.
EXACT_PROMPT = "Exact prompt"
EXACT_NEGATIVE = "Exact negative prompt"


@dataclass(frozen=True)
class Infotext:
    """What an infotext says.

    Args:
        prompt: Lines without outer spaces.
        negative_prompt: The same.
        pairs: Keys as they are written, values without their quotes.
        origin: The program, where another form than A1111's told it; else it is known by the pairs.
        warnings: What got lost on the way from another form, as sentences.
    """

    prompt: str = ""
    negative_prompt: str = ""
    pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    origin: str = ""
    warnings: tuple[str, ...] = ()


def parse_infotext(text: str) -> Infotext:
    """Return the words of an infotext; one without a line of pairs is a prompt."""
    *lines, last = text.replace("\r\n", "\n").strip().split("\n")
    found = _PAIR.findall(last)
    if len(found) < _LEAST_PAIRS:
        lines, found = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    place = prompt
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE_PROMPT_PREFIX):
            place = negative
            line = line.removeprefix(NEGATIVE_PROMPT_PREFIX).strip()
        place.append(line)
    pairs = {key.strip(): unquote(value.strip()) for key, value in found}
    # Not `or`: an exact prompt may be empty.
    return Infotext(
        pairs.pop(EXACT_PROMPT, "\n".join(prompt).strip()),
        pairs.pop(EXACT_NEGATIVE, "\n".join(negative).strip()),
        pairs,
    )


def format_infotext(infotext: Infotext) -> str:
    """Return the text of words, in A1111's form; `parse` gives them back."""
    line = ", ".join(f"{key}: {quote(value)}" for key, value in infotext.pairs.items())
    text = _assembled(infotext.prompt, infotext.negative_prompt, line)
    if len(infotext.pairs) < _LEAST_PAIRS:
        return text
    said = parse_infotext(text)
    exact = {
        key: json.dumps(meant, ensure_ascii=False)
        for key, meant, found in (
            (EXACT_PROMPT, infotext.prompt, said.prompt),
            (EXACT_NEGATIVE, infotext.negative_prompt, said.negative_prompt),
        )
        if found != strip_lines(meant)
    }
    if not exact:
        return text
    more = ", ".join(f"{key}: {value}" for key, value in exact.items())
    return _assembled(infotext.prompt, infotext.negative_prompt, f"{line}, {more}")


def strip_lines(prompt: str) -> str:
    """Return a prompt as an infotext's lines carry it: no spaces around lines; to a tokenizer it is the same."""
    return "\n".join(map(str.strip, prompt.split("\n"))).strip()


def quote(value: object) -> str:
    """Return the value as A1111 writes it: in JSON quotes when it holds a comma, a colon or a new line.

    So is what would not come back otherwise: outer spaces, and a first quotation mark.
    """
    text = format_number(value) if isinstance(value, float) else str(value)
    if any(mark in text for mark in ",:\n") or text.startswith('"') or text != text.strip():
        return json.dumps(text, ensure_ascii=False)
    return text


def unquote(text: str) -> str:
    """Return the value that was quoted; as it is when it was not."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        return text
    return found if isinstance(found, str) else text


def format_number(value: float) -> str:
    """Return the shortest text that gives the same number; a whole one without a point, as A1111's page writes it."""
    return str(int(value)) if value.is_integer() else str(value)


def _assembled(prompt: str, negative: str, line: str) -> str:
    lines = [prompt]
    if negative:
        lines.append(f"{NEGATIVE_PROMPT_PREFIX} {negative}")
    return "\n".join([*lines, line]).strip()
