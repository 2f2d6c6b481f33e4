"""Which of the prompt's and guidance's options have an effect on a job, and what its user should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.params.settings_guidance import GuidanceSettings
from modules.prompt.chunks import COMMA_BACKTRACK, Chunker
from modules.prompt.emphasis import EMPHASES, breaks_within_brackets
from modules.prompt.extra_networks import extract
from modules.prompt.reading import Strand, read_negative, read_prompt
from modules.prompt.schedule import Timeline
from modules.prompt.tokens import ClipTokenizer

_DEFAULTS = GuidanceSettings()
_ORIGINAL = EMPHASES.get("Original")
_ALL: tuple[str, ...] = (
    "emphasis",
    "use_old_emphasis_implementation",
    "use_old_scheduling",
    "comma_padding_backtrack",
    "s_min_uncond",
    "s_min_uncond_all",
    "skip_early_cond",
    "cfg_rescale",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
)
_ONLY_WITH_NEGATIVE: dict[str, Any] = {
    "s_min_uncond": 0.0,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
    "cfg_rescale": 0.0,
}


@dataclass(frozen=True)
class Pass:
    """What one pass of a job is steered by.

    Args:
        prompt: With styles, without comments.
        negative_prompt: Likewise.
        timeline: The evaluations that it is planned to have.
        cfg_scale: The scale, as the sampler applies it.
    """

    prompt: str
    negative_prompt: str
    timeline: Timeline
    cfg_scale: float

    def strands(self, *, old: bool) -> tuple[Strand, ...]:
        """Return all that is said, the negative prompt last, with prompt editing counted by old or new rules."""
        timeline = replace(self.timeline, old=old)
        return *read_prompt(self.prompt, timeline), read_negative(self.negative_prompt, timeline)


def without_effect(
    settings: GuidanceSettings, passes: Sequence[Pass], tokenizer: ClipTokenizer
) -> dict[str, Any]:
    """Return the options that change nothing in these passes, at the values that say so.

    Args:
        settings: The options in force.
        passes: One or two.
        tokenizer: Tells how long prompts are.
    """
    if all(getattr(settings, name) == getattr(_DEFAULTS, name) for name in _ALL):
        return {}
    old = settings.use_old_scheduling
    texts = {
        span.text for one in passes for strand in one.strands(old=old) for span in strand.spans
    }
    idle: dict[str, Any] = {}
    if all(one.strands(old=True) == one.strands(old=False) for one in passes):
        idle["use_old_scheduling"] = False
    chunker = Chunker.of(tokenizer, settings)
    idle.update(_idle_in_chunks(chunker, texts))
    if not any(_uses_negative(one) for one in passes):
        idle.update(_ONLY_WITH_NEGATIVE)
    if not settings.s_min_uncond:
        idle["s_min_uncond_all"] = False
    lengths = [_lengths(one, chunker, old=old) for one in passes]
    if all(prompt == negative for prompt, negative in lengths):
        idle.update(pad_cond_uncond=False, pad_cond_uncond_v0=False)
    elif settings.pad_cond_uncond_v0:  # it comes first
        idle["pad_cond_uncond"] = False
    return idle


def notes(passes: Sequence[Pass]) -> tuple[str, ...]:
    """Return what a user should know of these prompts, each once."""
    found = [
        f"There is no {network.kind} '{network.args[0]}'; the picture is made without it."
        for one in passes
        for network in extract(one.prompt)[1]
    ]
    strands = [strand for one in passes for strand in one.strands(old=one.timeline.old)]
    if any(breaks_within_brackets(span.text) for strand in strands for span in strand.spans):
        found.append(
            "BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word."
        )
    return tuple(dict.fromkeys(found))


def _idle_in_chunks(chunker: Chunker, texts: set[str]) -> dict[str, Any]:
    """Return the options of cutting and weighing that leave every text's chunks as they are."""
    idle: dict[str, Any] = {}
    plain = replace(chunker, emphasis=_ORIGINAL)
    weighed = [chunk for text in texts for chunk in plain.chunks(text)]
    if weighed == [chunk for text in texts for chunk in chunker.chunks(text)] and not any(
        weight != 1 for chunk in weighed for weight in chunk.weights
    ):
        idle["emphasis"] = _ORIGINAL.name
    for option, other in (
        ("use_old_emphasis_implementation", replace(chunker, old=False)),
        ("comma_padding_backtrack", replace(chunker, backtrack=COMMA_BACKTRACK)),
    ):
        if all(other.chunks(text) == chunker.chunks(text) for text in texts):
            idle[option] = getattr(_DEFAULTS, option)
    return idle


def _uses_negative(one: Pass) -> bool:
    strands = read_prompt(one.prompt, one.timeline)
    return one.cfg_scale * sum(strand.weight for strand in strands) != 1


def _lengths(one: Pass, chunker: Chunker, *, old: bool) -> tuple[int, int]:
    """Return the number of chunks of the prompt and of the negative prompt."""
    *prompt, negative = one.strands(old=old)
    longest = [
        max(len(chunker.chunks(span.text)) for span in strand.spans)
        for strand in (*prompt, negative)
    ]
    return max(longest[:-1]), longest[-1]
