"""Loopback: the result of each pass is the init image of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from modules.core.errors import UserError
from modules.images.save import read_image
from modules.params.image import ImageField
from modules.params.param import param
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.results import GeneratedImage
from modules.scripts.parts.grid import make_script_grid
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, CellResult, Script, ScriptResult, ScriptRun

_ORIGINAL = 1  # the masked content "original"
Curve = Literal["Aggressive", "Linear", "Lazy"]
# How far the denoising strength has come, from 0 to 1, after a share of the loops.
_CURVES: Mapping[str, Callable[[float], float]] = {
    "Aggressive": lambda share: math.sin(share * math.pi / 2),
    "Linear": lambda share: share,
    "Lazy": lambda share: 1 - math.cos(share * math.pi / 2),
}


class LoopbackArgs(BaseModel, frozen=True, extra="forbid"):
    """How many passes, and how the denoising strength changes."""

    loops: int = param(
        4,
        "Loops",
        help="How often the result is repainted; the batch count makes that many series.",
        ge=1,
        le=1000,
        slider=(1, 32, 1),
    )
    final_denoising_strength: float = param(
        0.5,
        "Final denoising strength",
        help="That of the last loop; the first one has the denoising strength of the form.",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    denoising_curve: Curve = param(
        "Linear",
        "Denoising strength curve",
        help="Aggressive changes the strength most in the first loops, Lazy most in the last ones.",
    )


def run_loopback(request: InitImageRequest, args: LoopbackArgs) -> ScriptRun:
    """Yield one cell at a time, with the result of the one before as its init image.

    With a batch count above 1 there are several series, and only the last image of each is part of the result.

    Args:
        request: The request of the first loop.
        args: Loops and denoising.

    Raises:
        UserError: it outpaints: each loop would add sides again.
    """
    if isinstance(request, Img2ImgRequest) and any(request.outpaint_sides):
        raise UserError(
            "Loopback cannot add sides to the picture: each loop would add them again.",
            "Set the sides of outpainting to 0, or repaint the outpainted picture by loopback.",
        )
    kept: list[GeneratedImage] = []
    for series in range(request.n_iter):
        last: GeneratedImage | None = None
        for loop in range(args.loops):
            number = series * args.loops + loop
            is_shown = request.n_iter == 1 or loop == args.loops - 1
            (result,) = yield [_make_cell(request, args, number, last, is_shown)]
            last = _first_image(result)
            if last is None:
                return _make_result(kept)
            kept += [last] if is_shown else []
    return _make_result(kept)


def denoising_strength(first: float, args: LoopbackArgs, loop: int) -> float:
    """Return the denoising strength of a loop, from 0.

    Args:
        first: That of loop 0.
        args: The last one, and how it is reached.
        loop: Number of the loop.
    """
    if args.loops == 1:
        return first
    share = _CURVES[args.denoising_curve](loop / (args.loops - 1))
    strength = first + (args.final_denoising_strength - first) * share
    return min(max(strength, 0.0), 1.0)


def _make_cell(
    request: InitImageRequest,
    args: LoopbackArgs,
    number: int,
    last: GeneratedImage | None,
    is_shown: bool,
) -> Cell:
    loop = number % args.loops

    def make_request() -> InitImageRequest:
        changes: dict[str, Any] = {
            "seed": shift_seed(request.seed, number),
            "denoising_strength": denoising_strength(request.denoising_strength, args, loop),
            "n_iter": 1,
            "batch_size": 1,
        }
        if last is not None:
            changes["init_image"] = ImageField.from_pil(read_image(last.path))
            if isinstance(request, Img2ImgRequest):
                changes["inpainting_fill"] = _ORIGINAL
        return request.replace(**changes)

    pairs = {
        "Final denoising strength": args.final_denoising_strength,
        "Denoising curve": args.denoising_curve,
    }
    return Cell(f"loop {loop + 1}", make_request, is_shown=is_shown, infotext=pairs)


def _first_image(result: CellResult) -> GeneratedImage | None:
    return result.images[0] if result.state == "done" and result.images else None


def _make_result(kept: Sequence[GeneratedImage]) -> ScriptResult:
    if len(kept) < 2:
        return ScriptResult()
    return ScriptResult(images=(make_script_grid(kept, rows=1),))


def _read_list(args: Sequence[Any], task: str) -> Mapping[str, Any]:  # JSON: anything
    """Return A1111's list by names; its fourth argument interrogates, which is a button of the page here.

    Raises:
        UserError: it asks for that, or is too long.
    """
    del task
    names = list(LoopbackArgs.model_fields)
    if len(args) > len(names) + 1:
        raise UserError(f"Loopback has {len(names) + 1} arguments, not {len(args)}.")
    if list(args[len(names) :]) not in ([], ["None"], [None], [""]):
        raise UserError(
            f"Append interrogated prompt is {args[-1]!r}; loopback does not interrogate its pictures.",
            "Use 'None'.",
        )
    return dict(zip(names, args, strict=False))


LOOPBACK = Script(
    "Loopback",
    run_loopback,
    LoopbackArgs,
    list_fields=(*LoopbackArgs.model_fields, ""),
    read_list=_read_list,
    cell_count=lambda args: args.loops,
    noun="loop",
    has_one_seed=True,
    tasks=frozenset(("img2img", "inpaint", "depth2img")),
)
