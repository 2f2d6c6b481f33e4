"""A1111's text format: both prompts and a line of `Key: value` pairs. Knows nothing of what the keys mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from modules.infotext.pair_block import MIN_PAIRS, find_pairs
from modules.infotext.pairs import NEGATIVE_KEY
from modules.infotext.pairs import unquote as unquote

MAX_LENGTH = 2**18  # twenty times the longest infotext in use
NEGATIVE_PROMPT_PREFIX = "Negative prompt:"
# Keys for a prompt that the lines above the pairs cannot represent, such as one that contains "Negative prompt: ...".
EXACT_PROMPT = "Exact prompt"
EXACT_NEGATIVE = "Exact negative prompt"
# What prompts were drawn from; the names are those of A1111's extension sd-dynamic-prompts.
TEMPLATE, NEGATIVE_TEMPLATE = "Template", "Negative Template"
_TEMPLATES = re.compile(
    rf"\n(?=(?:Negative )?{TEMPLATE}: )(?:{TEMPLATE}: (.*?))?(?:\n?{NEGATIVE_TEMPLATE}: (.*))?\Z",
    re.DOTALL,
)


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
    """Return the parsed infotext; text without pairs is all prompt, and so is one that is too long."""
    if len(text) > max_length:
        sentence = (
            f"The text has {len(text)} characters, and parameters are read from at most {max_length}; "
            "all of it is taken as the prompt."
        )
        return Infotext(*_split_prompts(text.replace("\r\n", "\n"), False), warnings=(sentence,))
    text, templates = _split_templates(text)
    block = find_pairs(text)
    prompt, negative = _split_prompts(block.head, bool(block.pairs))
    pairs = {pair.key: unquote(pair.value) for pair in block.pairs}
    pairs.update(templates)
    for key in [key for key in pairs if key.casefold() == NEGATIVE_KEY]:
        negative = negative or pairs.pop(key)  # between pairs that are one a line
    warnings = (
        (f"The text after the parameters is not read: '{block.rest}'.",) if block.rest else ()
    )
    # Not `or`: an exact prompt may be empty.
    return Infotext(
        pairs.pop(EXACT_PROMPT, prompt),
        pairs.pop(EXACT_NEGATIVE, negative),
        pairs,
        warnings=warnings,
    )


def _split_templates(text: str) -> tuple[str, dict[str, str]]:
    """Return the text without the lines that the extension sd-dynamic-prompts writes below the pairs, unquoted, and them."""
    match = _TEMPLATES.search(text)
    if match is None or not find_pairs(text[: match.start()]).pairs:
        return text, {}
    keys = {TEMPLATE: match[1], NEGATIVE_TEMPLATE: match[2]}
    pairs = {key: value.strip() for key, value in keys.items() if value}
    return text[: match.start()], pairs


def _split_prompts(head: str, has_pairs: bool) -> tuple[str, str]:
    """Return prompt and negative prompt; above pairs "negative prompt:" may be spelled in any case."""
    prompt: list[str] = []
    negative: list[str] = []
    current = prompt
    length = len(NEGATIVE_PROMPT_PREFIX)
    for line in map(str.strip, head.split("\n")):
        start = line[:length]
        folded = start.replace("\xa0", " ").casefold()
        if start == NEGATIVE_PROMPT_PREFIX or (
            has_pairs and folded == NEGATIVE_PROMPT_PREFIX.casefold()
        ):
            current = negative
            line = line[length:].strip()
        current.append(line)
    return "\n".join(prompt).strip(), "\n".join(negative).strip()


def format_infotext(infotext: Infotext) -> str:
    """Return the infotext in A1111's format; `parse_infotext` reverses it."""
    pair_line = ", ".join(f"{key}: {quote(value)}" for key, value in infotext.pairs.items())
    text = _join(infotext.prompt, infotext.negative_prompt, pair_line)
    if len(infotext.pairs) < MIN_PAIRS:
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


def format_number(value: float) -> str:
    """Return the shortest text of the same number; whole numbers without a decimal point, as A1111's page does."""
    return str(int(value)) if value.is_integer() else str(value)


def _join(prompt: str, negative: str, pair_line: str) -> str:
    lines = [prompt]
    if negative:
        lines.append(f"{NEGATIVE_PROMPT_PREFIX} {negative}")
    return "\n".join([*lines, pair_line]).strip()
