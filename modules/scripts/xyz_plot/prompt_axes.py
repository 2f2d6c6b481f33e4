"""Axes that change words of the prompts: search and replace, the order of words, weights of networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from modules.core.errors import UserError
from modules.params.requests.base import GenerationRequest
from modules.scripts.xyz_plot.values import AxisValue

# The prompts of all passes.
_PROMPTS = ("prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt")


def replace_words(
    request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    """Return the request with the first value replaced by another one in all prompts.

    Raises:
        UserError: the first value is in none of them.
    """
    first, prompts = str(values[0]), _read_prompts(request)
    if not any(first in text for text in prompts.values()):
        raise UserError(
            f"Prompt S/R did not find '{first}' in prompt or negative prompt.",
            "The first value is what is replaced by the others.",
        )
    changes = {name: text.replace(first, str(value)) for name, text in prompts.items()}
    return request.replace(**changes)


def order_words(
    request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    """Return the request with some words of the prompt in another order, at the places of the same words.

    Raises:
        UserError: the prompt lacks a word.
    """
    del values
    assert isinstance(value, tuple)
    prompt, spans = request.prompt, list[tuple[int, int]]()
    for word in value:
        start = prompt.find(word)
        if start < 0 or not word:
            raise UserError(f"'{word}' is not in the prompt.", "Write words of the prompt.")
        spans.append((start, start + len(word)))
    spans.sort()
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise UserError("The words overlap in the prompt.", "Write words that stand apart in it.")
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(prompt)]
    between = [prompt[end:start] for end, start in zip(ends, starts, strict=True)]
    ordered = "".join(text + word for text, word in zip(between, (*value, ""), strict=True))
    return request.replace(prompt=ordered)


def weigh_network(
    tag: str, name: str, request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    """Return the request with a network's weight in all prompts; it is added to the prompt if it is in none.

    Args:
        tag: The word of its tags, such as "lora".
        name: The network's name.
        request: The request.
        values: Not needed.
        value: The weight.
    """
    del values
    own = re.compile(rf"<({tag}):\s*{re.escape(name)}\s*(?::[^:>]*)?((?::[^>]*)?)>", re.IGNORECASE)
    prompts = _read_prompts(request)

    def weigh(match: re.Match[str]) -> str:
        return f"<{match[1]}:{name}:{value}{match[2]}>"

    changes = {field: own.sub(weigh, text) for field, text in prompts.items()}
    if not any(own.search(text) for text in prompts.values()):
        changes["prompt"] = f"{request.prompt} <{tag}:{name}:{value}>".strip()
    return request.replace(**changes)


def _read_prompts(request: GenerationRequest) -> dict[str, str]:
    fields: Any = dict(request)
    return {name: fields[name] for name in _PROMPTS if name in fields}
