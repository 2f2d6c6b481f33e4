"""Poor man's outpainting: adds sides to an image and repaints the tiles that reach into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from PIL import Image
from pydantic import BaseModel, BeforeValidator

from modules.core.errors import UserError
from modules.images.inpaint.expanded_canvas import Direction, edge_mask, expanded_sides
from modules.images.inpaint.outpaint import Sides
from modules.images.tiles import Box, Tiling, combine_tiles, make_tiling
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import param, params_of
from modules.params.requests.img2img import Img2ImgRequest
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.parts.tile_cells import check_overlap, read_tile
from modules.scripts.protocol import Cell, CellResult, Script, ScriptImage, ScriptResult, ScriptRun

_FILLS = params_of(Img2ImgRequest)["inpainting_fill"].labels
_BLUR = 2  # of the mask, and how far it reaches into the image, by the field "Mask blur"


def _read_fill(value: Any) -> Any:  # JSON: anything
    """Return the number of a masked content's name; anything else as it is."""
    return _FILLS.index(value) if value in _FILLS else value


class PoorMansOutpaintingArgs(BaseModel, frozen=True, extra="forbid"):
    """Where the image grows, and what is in the new area at first."""

    pixels: int = param(
        128,
        "Pixels to expand",
        help="How many pixels are added in each direction, and by how many the tiles overlap; less than width and height.",
        ge=8,
        le=1024,
        slider=(8, 256, 8),
    )
    mask_blur: int = param(
        4,
        "Mask blur",
        help="How wide the border is over which old and new are blended, in halves of the blur's pixels.",
        ge=0,
        le=64,
        slider=(0, 64, 1),
    )
    inpainting_fill: Annotated[int, BeforeValidator(_read_fill)] = param(
        0,
        "Masked content",
        help="What is in the new area before the first step.",
        labels=_FILLS,
        ge=0,
        le=3,
    )
    direction: tuple[Direction, ...] = param(
        ("left", "right", "up", "down"),
        "Outpainting direction",
        help="The sides at which the picture grows.",
    )


@dataclass(frozen=True)
class _Canvas:
    """The image with its new sides.

    Args:
        image: RGB, black where it is new.
        mask: L.
        latent_mask: L.
        tiling: Its tiles.
        repainted: The tiles that reach into the new sides.
    """

    image: Image.Image
    mask: Image.Image
    latent_mask: Image.Image
    tiling: Tiling
    repainted: tuple[Box, ...]


def run_poor_mans_outpainting(request: Img2ImgRequest, args: PoorMansOutpaintingArgs) -> ScriptRun:
    """Yield a hidden cell for each tile that reaches into the new sides.

    Args:
        request: Width and height are those of a tile; `n_iter` is the number of results.
        args: The sides.

    Raises:
        UserError: there is no direction, or tiles are no larger than their overlap.
    """
    if request.init_image is None or not args.direction:
        raise UserError("Outpainting needs a picture and a direction.", "Choose at least one.")
    check_overlap(request, args.pixels)
    canvas = _make_canvas(request, request.init_image.to_pil(), args)
    count = len(canvas.repainted)
    results = yield [
        _make_cell(request, args, canvas, number) for number in range(request.n_iter * count)
    ]
    passes = [results[start : start + count] for start in range(0, len(results), count)]
    return ScriptResult(
        images=tuple(
            _make_image(canvas, tiles) for tiles in passes if any(tile.images for tile in tiles)
        )
    )


def _make_canvas(
    request: Img2ImgRequest, image: Image.Image, args: PoorMansOutpaintingArgs
) -> _Canvas:
    sides = expanded_sides(image.size, args.pixels, args.direction)
    left, top, right, bottom = sides
    size = image.width + left + right, image.height + top + bottom
    whole = Image.new("RGB", size)
    whole.paste(image, (left, top))
    tiling = make_tiling(size, (request.width, request.height), args.pixels)
    old = left, top, size[0] - right, size[1] - bottom
    repainted = tuple(box for box in tiling.boxes() if not _lies_in(box, old))
    mask = edge_mask(size, _kept_box(size, sides, args.mask_blur * _BLUR))
    latent_mask = edge_mask(size, _kept_box(size, sides, args.mask_blur // _BLUR))
    return _Canvas(whole, mask, latent_mask, tiling, repainted)


def _lies_in(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _kept_box(size: tuple[int, int], sides: Sides, reach: int) -> Box:
    left, top, right, bottom = (side + reach * bool(side) for side in sides)
    return left, top, size[0] - right, size[1] - bottom


def _make_cell(
    request: Img2ImgRequest, args: PoorMansOutpaintingArgs, canvas: _Canvas, number: int
) -> Cell:
    repetition, index = divmod(number, len(canvas.repainted))
    box = canvas.repainted[index]

    def make_request() -> Img2ImgRequest:
        changes: dict[str, Any] = {
            "init_image": ImageField.from_pil(canvas.image.crop(box)),
            "mask": ImageField.from_pil(canvas.mask.crop(box), MASK),
            "latent_mask": ImageField.from_pil(canvas.latent_mask.crop(box), MASK),
            "width": box[2] - box[0],
            "height": box[3] - box[1],
            "mask_blur": args.mask_blur * _BLUR,
            "mask_blur_y": -1,
            "inpainting_fill": args.inpainting_fill,
            "inpaint_full_res": False,
            "inpainting_mask_invert": False,
            "seed": shift_seed(request.seed, repetition + index),
            "n_iter": 1,
            "batch_size": 1,
        }
        return request.replace(**changes)

    return Cell(f"tile {index + 1}", make_request, is_shown=False)


def _make_image(canvas: _Canvas, results: Sequence[CellResult]) -> ScriptImage:
    first = next(image for result in results for image in result.images)
    return ScriptImage(partial(_combine, canvas, results), first.infotext, first.seed)


def _combine(canvas: _Canvas, results: Sequence[CellResult], settings: object) -> Image.Image:
    del settings
    painted = dict(zip(canvas.repainted, results, strict=True))
    tiles: list[Image.Image] = []
    for box in canvas.tiling.boxes():
        tile = canvas.image.crop(box)
        tiles.append(read_tile(painted[box], tile) if box in painted else tile)
    return combine_tiles(canvas.tiling, tiles)


POOR_MANS_OUTPAINTING = Script(
    "Poor man's outpainting",
    run_poor_mans_outpainting,
    PoorMansOutpaintingArgs,
    noun="tile",
    waits_for_slots=True,
    has_one_seed=True,
    tasks=frozenset(("img2img",)),
)
