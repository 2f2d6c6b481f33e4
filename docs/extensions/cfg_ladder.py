"""A script of one file: the same picture at several CFG scales. Put it into `scripts/` of the data folder."""

from __future__ import annotations

from pydantic import BaseModel

from modules.engine.registries import Registries
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun

__version__ = "1.0"


class LadderArguments(BaseModel, frozen=True, extra="forbid"):
    """The fields of the script; the page and the API make theirs from them."""

    first: float = param(3.0, "First", help="The lowest CFG scale.", ge=1, le=30)
    last: float = param(11.0, "Last", help="The highest CFG scale.", ge=1, le=30)
    rungs: int = param(5, "Rungs", help="More makes more pictures between them.", ge=2, le=20)


def cfg_scales(args: LadderArguments) -> list[float]:
    """Return the CFG scales, first and last included."""
    step = (args.last - args.first) / (args.rungs - 1)
    return [round(args.first + step * rung, 2) for rung in range(args.rungs)]


def climb(request: GenerationRequest, args: LadderArguments) -> ScriptRun:
    """Make a picture at each CFG scale.

    The same request and arguments must yield the same cells: after a restart the script runs again, and the cells that
    have ended are answered from the store.
    """
    scales = cfg_scales(args)
    yield [
        Cell(f"CFG {scale:g}", lambda scale=scale: request.replace(cfg_scale=scale))
        for scale in scales
    ]
    return ScriptResult((f"CFG scales: {', '.join(f'{scale:g}' for scale in scales)}.",))


def register(webui: Registries) -> None:
    """Add the script to the lists of txt2img and img2img."""
    webui.scripts.add(
        Script(
            "CFG ladder",
            climb,
            LadderArguments,
            cell_count=lambda args: args.rungs,
            has_one_seed=True,
            tasks=frozenset(("txt2img", "img2img")),
        )
    )
