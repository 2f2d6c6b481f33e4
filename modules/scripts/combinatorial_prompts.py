"""Combinatorial prompts: a picture of every prompt that a template has, in place of a random one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.prompt.dynamic.combinations import count_combinations, list_combinations
from modules.prompt.dynamic.draw import PromptTemplate
from modules.prompt.dynamic.wildcards import NO_WILDCARDS, WildcardLibrary
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun

_MAX_ALIKE = 10  # so many times as many are looked at for prompts that do not come out the same
_TEMPLATE = "Template"  # its infotext key, as of a prompt that was drawn


class CombinatorialPromptsArgs(BaseModel, frozen=True, extra="forbid"):
    """How many prompts are made, and with which seeds.

    Attributes:
        prompts: The prompts; `prepare` fills them before the script is stored.
        possible: How many the template has, as text.
    """

    limit: int = param(
        100,
        "At most",
        help="How many prompts are made; of more, the first ones.",
        ge=1,
        le=10_000,
    )
    different_seeds: bool = param(
        False,
        "Use different seed for each picture",
        help="On: the seed counts up, and the pictures differ by more than the prompt; off: all have the same one.",
    )
    prompts: tuple[str, ...] = ()
    possible: str = ""


def prepare_combinations(
    request: GenerationRequest, args: CombinatorialPromptsArgs, library: WildcardLibrary
) -> tuple[GenerationRequest, CombinatorialPromptsArgs]:
    """Return the request, and the arguments with the prompts of its template.

    Args:
        request: Its prompt is the template; the other prompts are drawn for each picture by its seed.
        args: Say how many prompts are made.
        library: The wildcard files.

    Raises:
        UserError: there is nothing to combine.
    """
    template = request.prompt
    wildcards = library.read() if "__" in template else NO_WILDCARDS
    if PromptTemplate(template, wildcards).is_text:
        raise UserError(
            "The prompt has nothing to combine.",
            "Write {a|b}, or the name of a wildcard file such as __colour__.",
        )
    listed = islice(list_combinations(template, wildcards), _MAX_ALIKE * args.limit)
    prompts = tuple(islice(_unique(listed), args.limit))
    possible = str(count_combinations(template, wildcards))
    return request, args.model_copy(update={"prompts": prompts, "possible": possible})


def run_combinations(request: GenerationRequest, args: CombinatorialPromptsArgs) -> ScriptRun:
    """Yield a cell for each prompt.

    Args:
        request: All images of it are made of each prompt.
        args: Completed by `prepare_combinations`.
    """
    images = request.n_iter * request.batch_size
    yield [
        _make_cell(request, prompt, number * images * args.different_seeds)
        for number, prompt in enumerate(args.prompts)
    ]
    note = describe_prompts(args)
    return ScriptResult((f"Made: {note}.",) if note else ())


def _make_cell(request: GenerationRequest, prompt: str, seed_offset: int) -> Cell:
    changes = {
        "prompt": prompt,
        "seed": shift_seed(request.seed, seed_offset),
        "subseed": shift_seed(request.subseed, seed_offset),
    }
    return Cell(prompt, lambda: request.replace(**changes), infotext={_TEMPLATE: request.prompt})


def _unique(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _count_prompts(args: CombinatorialPromptsArgs) -> int:
    return len(args.prompts)


def describe_prompts(args: CombinatorialPromptsArgs) -> str:
    """Return which of a template's prompts are made where it has more, "" for all of them."""
    count = len(args.prompts)
    if args.possible == f"{count:,}" or count < args.limit:
        return ""
    return f"the first {count:,} of {args.possible} prompts that the template has"


def combinatorial_prompts(library: WildcardLibrary) -> Script:
    """Return the script, with the wildcard files that templates name."""
    return Script(
        "Combinatorial prompts",
        run_combinations,
        CombinatorialPromptsArgs,
        list_fields=("limit", "different_seeds"),
        cell_count=_count_prompts,
        noun="prompt",
        waits_for_slots=True,
        has_one_seed=True,
        tasks=frozenset(("txt2img", "img2img", "inpaint", "depth2img")),
        prepare=partial(prepare_combinations, library=library),
        remark=describe_prompts,
    )
