"""Splits a prompt into the texts that a run encodes: at AND, then by step. Knows nothing of tensors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.extra_networks import extract_networks
from modules.prompt.schedule import ScheduledText, StepTimeline, schedule_texts

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*")
_COMMENT_LINE = re.compile(r"^#[^\n]*(?:\n|\Z)", re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class SubPrompt:
    """One of the prompts that AND combines, with its texts by step."""

    texts: tuple[ScheduledText, ...]
    weight: float = 1.0


def parse_prompt(prompt: str, timeline: StepTimeline) -> tuple[SubPrompt, ...]:
    """Return the sub-prompts of a prompt, split at AND; extra networks are removed."""
    return tuple(
        SubPrompt(schedule_texts(part.text, timeline), part.weight)
        for part in split_at_and(extract_networks(prompt)[0])
    )


def parse_negative_prompt(prompt: str, timeline: StepTimeline) -> SubPrompt:
    """Return a negative prompt, in which AND and extra networks are plain text, as in A1111."""
    return SubPrompt(schedule_texts(prompt, timeline))


def count_tokens(sub_prompts: tuple[SubPrompt, ...], chunker: Chunker) -> TokenCount:
    """Return the token count of the longest text that is encoded."""
    texts = {scheduled.text for sub_prompt in sub_prompts for scheduled in sub_prompt.texts}
    return max((chunker.count_tokens(text) for text in texts), key=lambda count: count.tokens)


@dataclass(frozen=True)
class AndPart:
    """The text between two ANDs and its weight."""

    text: str
    weight: float = 1.0


def split_at_and(prompt: str) -> tuple[AndPart, ...]:
    """Return at least one part. `a AND b:0.5` gives b weight 0.5; a weight works without AND as well."""
    return tuple(_parse_part(text) for text in _AND.split(prompt))


def _parse_part(text: str) -> AndPart:
    before, _, after = text.rpartition(":")
    weight = _WEIGHT.fullmatch(after) if ":" in text else None
    if weight is None:
        return AndPart(text.rstrip())
    return AndPart(before.rstrip(), float(weight[1]))


def strip_comments(prompt: str) -> str:
    """Return the prompt without comments; a line that is only a comment is removed with its line break."""
    return _COMMENT.sub("", _COMMENT_LINE.sub("", prompt))
