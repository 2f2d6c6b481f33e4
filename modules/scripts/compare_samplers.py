"""Compares two samplers: the same image with each, both recorded."""

from __future__ import annotations

from pydantic import BaseModel

from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class CompareSamplersArgs(BaseModel, frozen=True, extra="forbid"):
    """The sampler to compare the request's with."""

    other_sampler: str = param(
        "", "Compare with another sampler", help="A second sampler; empty makes one picture only."
    )


def run_comparison(request: GenerationRequest, args: CompareSamplersArgs) -> ScriptRun:
    """Yield a cell for each sampler; they differ by nothing else.

    Args:
        request: The request; one image is made of it.
        args: Names the other sampler.
    """
    single = request.replace(n_iter=1, batch_size=1)
    samplers = dict.fromkeys((request.sampler_name, args.other_sampler or request.sampler_name))
    cells = [_make_cell(single.replace(sampler_name=name)) for name in samplers]
    yield cells
    return ScriptResult()


def _make_cell(request: GenerationRequest) -> Cell:
    return Cell(request.sampler_name, lambda: request, is_recorded=True)


def _count_samplers(args: CompareSamplersArgs) -> int:
    return 2 if args.other_sampler else 1


COMPARE_SAMPLERS = Script(
    "Compare samplers",
    run_comparison,
    CompareSamplersArgs,
    cell_count=_count_samplers,
    noun="sampler",
    has_one_seed=True,
)
