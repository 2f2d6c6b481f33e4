"""Processing of prompts: styles and comments before a request is planned, effective options after."""

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

# Each prompt field, with the part of a style that is applied to it; an empty hires prompt falls back to the first pass's.
_PROMPT_FIELDS: tuple[tuple[str, Callable[[Style], str]], ...] = (
    ("prompt", lambda style: style.prompt),
    ("negative_prompt", lambda style: style.negative_prompt),
    ("hr_prompt", lambda style: style.prompt),
    ("hr_negative_prompt", lambda style: style.negative_prompt),
)
R = TypeVar("R", bound=GenerationRequest)


def prompt_field_names(request: GenerationRequest) -> tuple[str, ...]:
    """Return the names of the request's prompt fields."""
    return tuple(name for name, _ in _PROMPT_FIELDS if name in type(request).model_fields)


def apply_styles(request: R, styles: Sequence[Style], settings: Settings) -> R:
    """Return the request with its styles applied and comments removed, as its infotext will record it.

    Args:
        request: The original request.
        styles: The styles that it names.
        settings: The engine's settings; the request's override settings take precedence.
    """
    options = settings.replace(**request.override_settings)
    prompts: dict[str, str] = {}
    for name, style_part in _PROMPT_FIELDS:
        text = getattr(request, name, "")
        if not text and name.startswith("hr_"):
            continue
        for style in styles:
            text = apply_style(text, style_part(style))
        prompts[name] = strip_comments(text) if options.enable_prompt_comments else text
    return request.replace(**prompts, styles=())


def reset_ineffective_options(plan: Plan, tokenizer: ClipTokenizer) -> Plan:
    """Return the plan with prompt options that have no effect reset to their defaults, and with notes on its prompts."""
    hires = plan.hires
    passes = [_pass_prompts(plan), *([_pass_prompts(hires.plan)] if hires else [])]
    ineffective = ineffective_guidance_options(plan.settings, passes, tokenizer)
    if hires is not None:
        settings = hires.plan.settings.replace(**ineffective)
        hires = replace(hires, plan=replace(hires.plan, settings=settings))
    return replace(
        plan,
        settings=plan.settings.replace(**ineffective),
        hires=hires,
        notes=(*plan.notes, *prompt_notes(passes)),
    )


def _pass_prompts(plan: Plan) -> PassPrompts:
    request = plan.request
    scale = request.cfg_scale / plan.sampler.cfg_divisor
    return PassPrompts(request.prompt, request.negative_prompt, plan.timeline, scale)
