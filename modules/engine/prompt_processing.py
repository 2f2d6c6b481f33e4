"""A request's words before it is planned, and what comes of them after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings
from modules.plan.effective_settings import PassPrompts, ineffective_guidance_options, prompt_notes
from modules.plan.plan import Plan
from modules.prompt.styles import Style, apply_style
from modules.prompt.sub_prompts import strip_comments
from modules.prompt.tokens import ClipTokenizer

# Each prompt, with what a style adds to it; an empty one of the second pass takes the first one's.
_PROMPTS: tuple[tuple[str, Callable[[Style], str]], ...] = (
    ("prompt", lambda style: style.prompt),
    ("negative_prompt", lambda style: style.negative_prompt),
    ("hr_prompt", lambda style: style.prompt),
    ("hr_negative_prompt", lambda style: style.negative_prompt),
)
R = TypeVar("R", bound=GenerationRequest)


def prompt_field_names(request: GenerationRequest) -> tuple[str, ...]:
    """Return the names of the fields that hold its prompts."""
    return tuple(name for name, _ in _PROMPTS if name in type(request).model_fields)


def apply_styles(request: R, styles: Sequence[Style], settings: Settings) -> R:
    """Return the request with its styles in its prompts and without comments, as its infotext will tell it.

    Args:
        request: As asked.
        styles: Those that it names.
        settings: The engine's options; the request's own come before them.
    """
    options = settings.replace(**request.override_settings)
    words: dict[str, str] = {}
    for name, part in _PROMPTS:
        text = getattr(request, name, "")
        if not text and name.startswith("hr_"):
            continue
        for style in styles:
            text = apply_style(text, part(style))
        words[name] = strip_comments(text) if options.enable_prompt_comments else text
    return request.replace(**words, styles=())


def reset_ineffective_options(plan: Plan, tokenizer: ClipTokenizer) -> Plan:
    """Return the plan with the prompts' options that change nothing at their defaults, and with notes on its prompts."""
    second = plan.hires
    passes = [_pass(plan), *([_pass(second.plan)] if second else [])]
    idle = ineffective_guidance_options(plan.settings, passes, tokenizer)
    if second is not None:
        again = second.plan
        second = replace(second, plan=replace(again, settings=again.settings.replace(**idle)))
    return replace(
        plan,
        settings=plan.settings.replace(**idle),
        hires=second,
        notes=(*plan.notes, *prompt_notes(passes)),
    )


def _pass(plan: Plan) -> PassPrompts:
    request = plan.request
    scale = request.cfg_scale / plan.sampler.cfg_divisor
    return PassPrompts(request.prompt, request.negative_prompt, plan.timeline, scale)
