"""SD upscale: enlarges an image, repaints it in overlapping tiles and puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from PIL import Image
from pydantic import BaseModel

from modules.core.errors import UserError
from modules.images.tiles import Tiling, combine_tiles, make_tiling
from modules.params.image import ImageField
from modules.params.param import param
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.job_request import JobRequest
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.parts.tile_cells import check_overlap, read_tile, valid_side
from modules.scripts.parts.upscale_cells import (
    NO_UPSCALER,
    find_upscaler_name,
    upscale,
    upscale_request,
)
from modules.scripts.protocol import Cell, CellResult, Script, ScriptImage, ScriptResult, ScriptRun


class SDUpscaleArgs(BaseModel, frozen=True, extra="forbid"):
    """How the image is enlarged and divided."""

    overlap: int = param(
        64,
        "Tile overlap",
        help="By how many pixels neighbouring tiles overlap; more hides their seams better and makes more tiles. Tiles "
        "are as large as width and height.",
        ge=0,
        le=1024,
        slider=(0, 256, 16),
    )
    upscaler: str = param(
        "Lanczos",
        "Upscaler",
        help="What enlarges the picture before it is repainted; None repaints it at its own size.",
        choices="image upscalers",
    )
    scale_factor: float = param(
        2.0,
        "Scale Factor",
        help="How many times as wide and as high the result is; larger ones have more tiles.",
        ge=1,
        le=16,
        slider=(1, 4, 0.05),
    )


def check_sd_upscale(
    request: InitImageRequest, args: SDUpscaleArgs
) -> Iterator[tuple[str, JobRequest]]:
    """Yield the request that enlarges the image.

    Raises:
        UserError: there is no image, or tiles are no larger than their overlap.
    """
    if request.init_image is None:
        raise UserError("SD upscale has no picture to enlarge.", "Add one.")
    check_overlap(request, args.overlap)
    if args.upscaler.casefold() != NO_UPSCALER.casefold():
        yield "Upscaler", upscale_request(request.init_image, args.upscaler, args.scale_factor)


def run_sd_upscale(request: InitImageRequest, args: SDUpscaleArgs) -> ScriptRun:
    """Yield a hidden cell for each tile, and before them what enlarges the image.

    Args:
        request: Width and height are those of a tile; `n_iter` is the number of results.
        args: Upscaler and overlap.

    Raises:
        UserError: the image could not be enlarged.
    """
    assert request.init_image is not None, "requests_to_check refuses a request without one"
    enlarged, name = yield from upscale(request.init_image, args.upscaler, args.scale_factor)
    args = args.model_copy(update={"upscaler": name})
    tiling = make_tiling(enlarged.size, (request.width, request.height), args.overlap)
    count = len(tiling.boxes())
    results = yield [
        _make_cell(request, args, enlarged, tiling, number)
        for number in range(request.n_iter * count)
    ]
    passes = [results[start : start + count] for start in range(0, len(results), count)]
    return ScriptResult(
        images=tuple(
            _make_image(enlarged, tiling, tiles, shift_seed(request.seed, number))
            for number, tiles in enumerate(passes)
            if any(tile.images for tile in tiles)
        )
    )


def _make_cell(
    request: InitImageRequest,
    args: SDUpscaleArgs,
    enlarged: Image.Image,
    tiling: Tiling,
    number: int,
) -> Cell:
    """Return the cell of one tile; its seed is that which A1111 gives it in a batch of tiles."""
    boxes = tiling.boxes()
    repetition, index = divmod(number, len(boxes))
    batch, in_batch = divmod(index, request.batch_size)
    counts_up = in_batch if request.subseed_strength == 0 else 0

    def make_request() -> InitImageRequest:
        return request.replace(
            init_image=ImageField.from_pil(enlarged.crop(boxes[index])),
            width=valid_side(tiling.tile[0]),
            height=valid_side(tiling.tile[1]),
            seed=shift_seed(request.seed, repetition + batch + counts_up),
            subseed=shift_seed(request.subseed, in_batch),
            n_iter=1,
            batch_size=1,
        )

    pairs = {"SD upscale overlap": args.overlap, "SD upscale upscaler": args.upscaler}
    return Cell(f"tile {index + 1}", make_request, is_shown=False, infotext=pairs)


def _make_image(
    enlarged: Image.Image, tiling: Tiling, results: Sequence[CellResult], seed: int
) -> ScriptImage:
    """Return the image of one pass; a tile that failed stays as it was enlarged."""
    first = next(image for result in results for image in result.images)
    return ScriptImage(partial(_combine, enlarged, tiling, results), first.infotext, seed)


def _combine(
    enlarged: Image.Image, tiling: Tiling, results: Sequence[CellResult], settings: object
) -> Image.Image:
    del settings
    tiles = [
        read_tile(result, enlarged.crop(box))
        for result, box in zip(results, tiling.boxes(), strict=True)
    ]
    return combine_tiles(tiling, tiles)


def _read_list(args: Sequence[Any], task: str) -> Mapping[str, Any]:  # JSON: anything
    """Return A1111's list by names; its upscaler may be a number."""
    del task
    values = dict(zip(SDUpscaleArgs.model_fields, args[1:], strict=False))
    if "upscaler" in values:
        values["upscaler"] = find_upscaler_name(values["upscaler"])
    return values


SD_UPSCALE = Script(
    "SD upscale",
    run_sd_upscale,
    SDUpscaleArgs,
    list_fields=("", *SDUpscaleArgs.model_fields),
    read_list=_read_list,
    noun="tile",
    waits_for_slots=True,
    has_one_seed=True,
    requests_to_check=check_sd_upscale,
    tasks=frozenset(("img2img",)),
)
