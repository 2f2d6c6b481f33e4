"""Draws the prompts of each image from templates, by the image's own seed, and plans the images of a job with them.

Images of a batch whose prompts differ are generated one after another: LoRAs are folded for all of a batch, and each image is
the one that its seed and its drawn prompt give alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod

from modules.params.requests.base import GenerationRequest
from modules.plan.plan import ImagePlan, Plan
from modules.plan.prompts import prompt_field_names
from modules.prompt.dynamic.combinations import CombinationCount, count_combinations
from modules.prompt.dynamic.draw import DrawnText, PromptTemplate
from modules.prompt.dynamic.wildcards import NO_WILDCARDS, WildcardLibrary

# The infotext keys of templates; the first two are those of A1111's extension sd-dynamic-prompts.
TEMPLATE_KEYS: Mapping[str, str] = {
    "prompt": "Template",
    "negative_prompt": "Negative Template",
    "hr_prompt": "Hires Template",
    "hr_negative_prompt": "Hires Negative Template",
}
Batches = tuple[tuple[ImagePlan, ...], ...]


@dataclass(frozen=True)
class Templates:
    """The prompts of a request as templates.

    Args:
        by_field: Those of the fields that count.
        notes: Sentences on those from which there is nothing to draw.
    """

    by_field: Mapping[str, PromptTemplate]
    notes: tuple[str, ...]

    def draw(self, seed: int) -> Mapping[str, DrawnText]:
        """Return what a seed draws, by field."""
        return {name: template.draw(seed) for name, template in self.by_field.items()}


def read_templates(request: GenerationRequest, library: WildcardLibrary) -> Templates:
    """Return the prompts of a request from which something can be drawn.

    Args:
        request: With its styles applied.
        library: The wildcard files, which are read when a prompt has underscores that may be a wildcard.
    """
    has_hires = bool(getattr(request, "enable_hr", False))
    names = [
        name for name in prompt_field_names(request) if has_hires or not name.startswith("hr_")
    ]
    texts: dict[str, str] = {name: getattr(request, name) for name in names}
    needs_files = any("__" in text for text in texts.values())
    wildcards = library.read() if needs_files else NO_WILDCARDS
    parsed = {name: PromptTemplate(text, wildcards) for name, text in texts.items()}
    notes = [note for one in parsed.values() if one.is_text for note in one.draw(0).notes]
    templates = {name: one for name, one in parsed.items() if not one.is_text}
    return Templates(templates, tuple(dict.fromkeys(notes)))


def describe_templates(templates: Templates, library: WildcardLibrary) -> str:
    """Return how many prompts can be drawn and from which wildcards, with what is wrong with them; "" without a template."""
    drawn = templates.draw(0)
    notes = dict.fromkeys(
        (*templates.notes, *(note for one in drawn.values() for note in one.notes))
    )
    if not drawn:
        return " ".join(notes)
    names = dict.fromkeys(
        name for one in templates.by_field.values() for name in one.wildcard_names
    )
    wildcards = library.read() if names else NO_WILDCARDS
    counts = [count_combinations(one.text, wildcards) for one in templates.by_field.values()]
    count = CombinationCount(prod(one.count for one in counts), all(one.is_exact for one in counts))
    found = ", ".join(f"{name} ({len(wildcards.find(name).texts):,})" for name in names)
    sentences = [f"Each picture draws from {count} prompts by its own seed."]
    return " ".join([*sentences, *([f"Wildcards: {found}."] if found else []), *notes])


def plan_drawn_prompts(
    request: GenerationRequest,
    templates: Templates,
    batches: Batches,
    make_plan: Callable[[GenerationRequest], Plan],
) -> Plan:
    """Return the plan of a job whose images have prompts of their own; see `Plan.drawn`.

    Args:
        request: With the templates and resolved seeds.
        templates: From `read_templates`.
        batches: The images, batch by batch.
        make_plan: Plans a request.

    Raises:
        WebUIError: a drawn prompt cannot be planned.
    """
    made: dict[tuple[tuple[str, str], ...], Plan] = {}
    plans: list[Plan] = []
    groups: list[tuple[ImagePlan, ...]] = []
    for batch in batches:
        drawn = [(image, templates.draw(image.seed)) for image in batch]
        for prompts, group in groupby(drawn, key=lambda pair: _texts(pair[1])):
            pairs = list(group)
            if prompts not in made:
                made[prompts] = _plan_drawn(request, templates, pairs[0][1], make_plan)
            groups.append(tuple(image for image, _ in pairs))
            plans.append(made[prompts])
    new_batches = tuple(groups)
    first, notes = plans[0], (note for plan in made.values() for note in plan.notes)
    return replace(
        first.with_batches(new_batches),
        request=_with_templates(first.request, request),
        notes=tuple(dict.fromkeys((*notes, *templates.notes))),
        drawn=tuple(plan.with_batches(new_batches) for plan in plans),
        templates=(),
    )


def _texts(drawn: Mapping[str, DrawnText]) -> tuple[tuple[str, str], ...]:
    return tuple((name, one.text) for name, one in drawn.items())


def _plan_drawn(
    request: GenerationRequest,
    templates: Templates,
    drawn: Mapping[str, DrawnText],
    make_plan: Callable[[GenerationRequest], Plan],
) -> Plan:
    """Return the plan of the images with the same prompts, with the templates for their infotexts."""
    plan = make_plan(request.replace(**dict(_texts(drawn))))
    pairs = [
        (TEMPLATE_KEYS[name], templates.by_field[name].text)
        for name, one in drawn.items()
        if one.is_drawn
    ]
    notes = (note for one in drawn.values() for note in one.notes)
    return replace(plan, templates=tuple(pairs), notes=(*plan.notes, *notes))


def _with_templates(planned: GenerationRequest, request: GenerationRequest) -> GenerationRequest:
    """Return a planned request with the templates in place of what was drawn."""
    names = prompt_field_names(request)
    return planned.replace(**{name: getattr(request, name) for name in names})
