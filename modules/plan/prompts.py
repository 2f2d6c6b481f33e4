"""Prompts of a request: styles and comments before it is planned, notes for the user after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from modules.models.index import ModelIndex
from modules.models.networks.network_kinds import HYPERNETWORK_TAGS, LORA_TAGS
from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings
from modules.plan.networks.hypernetworks import HYPERNET, plan_hypernetworks
from modules.plan.networks.loras import LoraUse, plan_loras
from modules.plan.networks.planned_networks import PlannedNetworks
from modules.plan.plan import Plan
from modules.plan.planned_pass import PlannedPass
from modules.prompt.emphasis import has_break_in_brackets
from modules.prompt.extra_networks import extract_networks
from modules.prompt.styles import Style, apply_style
from modules.prompt.sub_prompts import strip_comments

# Each prompt field, with the part of a style that is applied to it; an empty hires prompt falls back to the first pass's.
_PROMPT_FIELDS: tuple[tuple[str, Callable[[Style], str]], ...] = (
    ("prompt", lambda style: style.prompt),
    ("negative_prompt", lambda style: style.negative_prompt),
    ("hr_prompt", lambda style: style.prompt),
    ("hr_negative_prompt", lambda style: style.negative_prompt),
)
# The option that adds a network to every prompt, by the words of its tags; in A1111's order.
_ADDED_BY: Mapping[tuple[str, ...], str] = {
    HYPERNETWORK_TAGS: "sd_hypernetwork",
    LORA_TAGS: "sd_lora",
}
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
        if "negative" not in name:
            prompts[name] = _add_chosen_networks(prompts[name], options)
    return request.replace(**prompts, styles=())


def _add_chosen_networks(prompt: str, settings: Settings) -> str:
    """Return the prompt with the networks that the settings add to every prompt, unless it names them already.

    As in A1111, those of a kind that the prompt has come first.
    """
    tags = extract_networks(prompt)[1]
    words = [tag.kind for tag in tags]
    for kinds in sorted(_ADDED_BY, key=lambda kinds: _first_place(kinds, words)):
        name = getattr(settings, _ADDED_BY[kinds])
        is_there = any(tag.kind in kinds and tag.name == name for tag in tags)
        if name not in ("", "None") and not is_there:
            prompt += f"<{kinds[0]}:{name}:{settings.extra_networks_default_multiplier}>"
    return prompt


def _first_place(kinds: Sequence[str], words: Sequence[str]) -> int:
    return next((place for place, word in enumerate(words) if word in kinds), len(words))


def plan_networks(plan: Plan, models: ModelIndex) -> Plan:
    """Return the plan with the networks of its prompts, each pass with its own, and notes on those left out."""
    networks, notes = _find_networks(plan, models)
    hires = plan.hires
    if hires is not None:
        hires_networks, hires_notes = _find_networks(hires.plan, models)
        hires = replace(hires, plan=replace(hires.plan, networks=hires_networks))
        notes = tuple(dict.fromkeys((*notes, *hires_notes)))
    return replace(plan, networks=networks, hires=hires, notes=(*plan.notes, *notes))


def list_loras(plan: Plan) -> tuple[LoraUse, ...]:
    """Return the LoRAs of both passes, in the order of their prompts."""
    hires = plan.hires.plan.networks.loras if plan.hires else ()
    return (*plan.networks.loras, *hires)


def _find_networks(plan: Plan, models: ModelIndex) -> tuple[PlannedNetworks, tuple[str, ...]]:
    tags = extract_networks(plan.request.prompt)[1]
    loras, notes = plan_loras(tags, models.networks, models.get_family(plan.checkpoint))
    hypernetworks, more_notes = plan_hypernetworks(tags, models, plan.checkpoint)
    return PlannedNetworks(loras, hypernetworks), (*notes, *more_notes)


def prompt_notes(passes: Sequence[PlannedPass]) -> tuple[str, ...]:
    """Return what a user should know about the prompts of these passes, each sentence once."""
    notes = [
        f"There is no {network.kind} '{network.args[0]}'; the picture is made without it."
        for planned in passes
        for network in extract_networks(planned.plan.request.prompt)[1]
        if network.kind not in (*LORA_TAGS, HYPERNET)
    ]
    if any(has_break_in_brackets(text) for planned in passes for text in planned.texts):
        notes.append(
            "BREAK within brackets begins a new chunk here; A1111 1.10 reads it as a word."
        )
    return tuple(dict.fromkeys(notes))
