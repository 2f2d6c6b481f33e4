"""Spells an infotext's keys as A1111 does, and finds keys that were left in a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable

from modules.infotext.codecs import Pairs
from modules.infotext.text_format import Infotext

_REMAINING_KEY = re.compile(
    r"(?<!\w)(?:(?:steps|seed|cfg scale|clip skip)\s?:\s?\d{1,20}|size\s?:\s?\d{1,6}\s?[x\xd7]\s?\d{1,6}"
    r"|sampler\s?:\s?\w[^,\n]{0,40}|negative prompt:(?=\s?\w))",
    re.IGNORECASE,
)


def spell_keys(pairs: Pairs, known: Iterable[str]) -> dict[str, str]:
    """Return the pairs with keys that differ from a known one only in case spelled like it, unless both are there."""
    known = list(known)
    spellings: dict[str, str] = {}
    for key in known:
        spellings.setdefault(key.casefold(), key)
    exact = frozenset(known)
    spelled: dict[str, str] = {}
    for key, value in pairs.items():
        other = spellings.get(key.casefold(), key)
        spelled[key if key in exact or other in pairs else other] = value
    return spelled


def describe_remaining_keys(infotext: Infotext) -> list[str]:
    """Return a sentence for each prompt that contains a key: it was probably a parameter."""
    sentences: list[str] = []
    for name, prompt in (
        ("prompt", infotext.prompt),
        ("negative prompt", infotext.negative_prompt),
    ):
        match = _REMAINING_KEY.search(prompt)
        if match:
            sentences.append(
                f"The {name} contains '{match[0].strip()}', which is not read as a parameter."
            )
    return sentences
