"""A prompt to the parts that AND joins, each with its weight (Liu et al. 2022, arXiv 2206.01714)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r"\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*")


@dataclass(frozen=True)
class Part:
    """One of the prompts that steer a picture together."""

    text: str
    weight: float = 1.0


def parts(prompt: str) -> tuple[Part, ...]:
    """Return at least one part. `a AND b:0.5` weighs b half; a number behind a prompt without AND counts as well."""
    return tuple(_part(text) for text in _AND.split(prompt))


def _part(text: str) -> Part:
    before, _, behind = text.rpartition(":")
    number = _WEIGHT.fullmatch(behind) if ":" in text else None
    if number is None:
        return Part(text.rstrip())
    return Part(before.rstrip(), float(number[1]))
