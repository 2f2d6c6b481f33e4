"""A prompt to all the texts that a run encodes, in order. Knows nothing of tensors."""

from __future__ import annotations

from dataclasses import dataclass

from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.composition import parts
from modules.prompt.extra_networks import extract
from modules.prompt.schedule import Span, Timeline, spans


@dataclass(frozen=True)
class Strand:
    """One of the prompts that steer a picture together, and what it says in the course of the run."""

    spans: tuple[Span, ...]
    weight: float = 1.0


def read_prompt(prompt: str, timeline: Timeline) -> tuple[Strand, ...]:
    """Return the strands of a prompt, one for each part that AND joins; networks are taken out."""
    return tuple(
        Strand(spans(part.text, timeline), part.weight) for part in parts(extract(prompt)[0])
    )


def read_negative(prompt: str, timeline: Timeline) -> Strand:
    """Return the strand of a negative prompt, in which AND and networks are words, as in A1111."""
    return Strand(spans(prompt, timeline))


def count_tokens(strands: tuple[Strand, ...], chunker: Chunker) -> TokenCount:
    """Return the count of the longest text that is encoded."""
    texts = {span.text for strand in strands for span in strand.spans}
    return max((chunker.count(text) for text in texts), key=lambda count: count.tokens)
