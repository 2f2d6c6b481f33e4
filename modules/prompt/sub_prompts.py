"""A prompt to all the texts that a run encodes, in order. Knows nothing of tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.extra_networks import extract_networks
from modules.prompt.schedule import ScheduledText, StepTimeline, schedule_texts


@dataclass(frozen=True)
class SubPrompt:
    """One of the prompts that steer a picture together, and what it says in the course of the run."""

    texts: tuple[ScheduledText, ...]
    weight: float = 1.0


def parse_prompt(prompt: str, timeline: StepTimeline) -> tuple[SubPrompt, ...]:
    """Return the strands of a prompt, one for each part that AND joins; networks are taken out."""
    return tuple(
        SubPrompt(schedule_texts(part.text, timeline), part.weight)
        for part in split_at_and(extract_networks(prompt)[0])
    )


def parse_negative_prompt(prompt: str, timeline: StepTimeline) -> SubPrompt:
    """Return the strand of a negative prompt, in which AND and networks are words, as in A1111."""
    return SubPrompt(schedule_texts(prompt, timeline))


def count_tokens(sub_prompts: tuple[SubPrompt, ...], chunker: Chunker) -> TokenCount:
    """Return the count of the longest text that is encoded."""
    texts = {span.text for strand in sub_prompts for span in strand.texts}
    return max((chunker.count_tokens(text) for text in texts), key=lambda count: count.tokens)


_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*")


@dataclass(frozen=True)
class AndPart:
    """One of the prompts that steer a picture together."""

    text: str
    weight: float = 1.0


def split_at_and(prompt: str) -> tuple[AndPart, ...]:
    """Return at least one part. `a AND b:0.5` weighs b half; a number behind a prompt without AND counts as well."""
    return tuple(_part(text) for text in _AND.split(prompt))


def _part(text: str) -> AndPart:
    before, _, behind = text.rpartition(":")
    number = _WEIGHT.fullmatch(behind) if ":" in text else None
    if number is None:
        return AndPart(text.rstrip())
    return AndPart(before.rstrip(), float(number[1]))


_WHOLE_LINE = re.compile(r"^#[^\n]*(?:\n|\Z)", re.MULTILINE)
_REST_OF_LINE = re.compile(r"#[^\n]*")


def strip_comments(prompt: str) -> str:
    """Return the prompt without comments; a line that is nothing but one goes altogether."""
    return _REST_OF_LINE.sub("", _WHOLE_LINE.sub("", prompt))
