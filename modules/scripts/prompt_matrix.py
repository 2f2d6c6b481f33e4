"""Prompt matrix: all combinations of the parts of a prompt that "|" separates, in one grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.images.annotated_grid import matrix_legend
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.scripts.parts.grid import make_script_grid
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, CellResult, Script, ScriptResult, ScriptRun

# 2 ** 10 pictures; the grid of more at 512 pixels a side has too many for any image format.
_MAX_VARIABLE_PARTS = 10
_NOTHING_TO_COMBINE = (
    "The {} prompt has no | in it, so there is one picture: write a | before each part that comes and goes, such as a"
    " cat|in a hat|at night."
)
_DELIMITERS = {"comma": ", ", "space": " "}


class PromptMatrixArgs(BaseModel, frozen=True, extra="forbid"):
    """Which prompt is split, and how its parts are joined again."""

    put_at_start: bool = param(
        False,
        "Put variable parts at start of prompt",
        help="On: the parts that come and go stand before the first one, where they count more; off: after it.",
    )
    different_seeds: bool = param(
        False,
        "Use different seed for each picture",
        help="On: the seed counts up, and the pictures differ by more than the prompt; off: all have the same one.",
    )
    prompt_type: Literal["positive", "negative"] = param(
        "positive",
        "Select prompt",
        help="The prompt whose parts, separated by |, are combined; the first part is always there.",
    )
    variations_delimiter: Literal["comma", "space"] = param(
        "comma", "Select joining char", help="The separator of the parts of each prompt."
    )
    margin_size: int = param(
        0,
        "Grid margins (px)",
        help="Pixels between the pictures of the grid.",
        ge=0,
        le=500,
        slider=(0, 500, 2),
    )


def run_prompt_matrix(request: GenerationRequest, args: PromptMatrixArgs) -> ScriptRun:
    """Yield a cell for each combination; bit k of a cell's number switches part k + 1 on.

    Args:
        request: One image is made of each prompt.
        args: How prompts are combined.

    Raises:
        UserError: there is too much to combine.
    """
    field = "prompt" if args.prompt_type == "positive" else "negative_prompt"
    first, *parts = getattr(request, field).split("|")
    if len(parts) > _MAX_VARIABLE_PARTS:
        raise UserError(
            f"{len(parts)} parts have {2 ** len(parts)} combinations; at most {_MAX_VARIABLE_PARTS} parts after the "
            f"first can be combined.",
            "Remove some of the |.",
        )
    prompts = [_combine(number, first, parts, args) for number in range(2 ** len(parts))]
    results = yield [
        _make_cell(request, number, field, prompt, args.different_seeds)
        for number, prompt in enumerate(prompts)
    ]
    return _make_result(results, parts, args)


def _combine(number: int, first: str, parts: list[str], args: PromptMatrixArgs) -> str:
    chosen = [part.strip().strip(",") for bit, part in enumerate(parts) if number >> bit & 1]
    ordered = [*chosen, first] if args.put_at_start else [first, *chosen]
    return _DELIMITERS[args.variations_delimiter].join(ordered)


def _make_cell(
    request: GenerationRequest, number: int, field: str, prompt: str, different_seeds: bool
) -> Cell:
    changes = {
        field: prompt,
        "seed": shift_seed(request.seed, number * different_seeds),
        "subseed": shift_seed(request.subseed, number),
        "n_iter": 1,
        "batch_size": 1,
    }
    return Cell(prompt, lambda: request.replace(**changes))


def _make_result(
    results: Sequence[CellResult], parts: list[str], args: PromptMatrixArgs
) -> ScriptResult:
    made = [result.images[0] if result.images else None for result in results]
    notes = () if parts else (_NOTHING_TO_COMBINE.format(args.prompt_type),)
    if not any(made):
        return ScriptResult(notes)
    legend = matrix_legend(parts, args.margin_size)
    return ScriptResult(notes, images=(make_script_grid(made, 2 ** (len(parts) // 2), legend),))


PROMPT_MATRIX = Script(
    "Prompt matrix",
    run_prompt_matrix,
    PromptMatrixArgs,
    waits_for_slots=True,
    has_one_seed=True,
    tasks=frozenset(("txt2img", "img2img", "inpaint", "depth2img")),
    shows_control_maps=True,
)
