"""Outpainting mk2: extends an image one side after the other, from noise in its own colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from modules.core.errors import UserError
from modules.images.annotated_grid import check_grid_size
from modules.images.grid import make_grid
from modules.images.inpaint.expanded_canvas import (
    Direction,
    edge_mask,
    expanded_sides,
    rounded_up,
)
from modules.images.inpaint.matched_noise import matched_noise
from modules.images.resize import SIZE_MULTIPLE
from modules.images.save import read_image
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.param import param
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.results import GeneratedImage
from modules.params.settings.saving import GridSettings
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, CellResult, Script, ScriptImage, ScriptResult, ScriptRun

_ORIGINAL = 1  # the masked content "original"
# By the field "Mask blur": how far the two masks reach into the image, and the blur in pixels.
_REACH, _LATENT_REACH, _BLUR = 1, 2, 4


class OutpaintingMk2Args(BaseModel, frozen=True, extra="forbid"):
    """Where the image grows, and from what."""

    pixels: int = param(
        128,
        "Pixels to expand",
        help="How many pixels are added in each direction; the whole becomes a multiple of 64.",
        ge=8,
        le=1024,
        slider=(8, 256, 8),
    )
    mask_blur: int = param(
        8,
        "Mask blur",
        help="How wide the border is over which old and new are blended, in quarters of the blur's pixels.",
        ge=0,
        le=64,
        slider=(0, 64, 1),
    )
    direction: tuple[Direction, ...] = param(
        ("left", "right", "up", "down"),
        "Outpainting direction",
        help="The sides at which the picture grows, one after the other.",
    )
    noise_q: float = param(
        1.0,
        "Fall-off exponent (lower=higher detail)",
        help="How quickly fine detail falls off in the noise that fills the new area.",
        ge=0,
        le=4,
        slider=(0, 4, 0.01),
    )
    color_variation: float = param(
        0.05,
        "Color variation",
        help="How colourful the noise is: 0 is grey.",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )


@dataclass(frozen=True)
class _Side:
    """One direction.

    Args:
        name: Its name.
        pixels: How many are added there.
        is_horizontal: Whether the image gets wider.
        is_first: Whether they are added at the left or the top.
    """

    name: str
    pixels: int
    is_horizontal: bool
    is_first: bool


@dataclass(frozen=True)
class _Extended:
    """An image with a new side.

    Args:
        whole: RGB, the new area filled with noise, both sides multiples of 64.
        size: What counts of it.
        box: The part that is repainted.
        mask: L, of the part.
        latent_mask: Likewise.
    """

    whole: Image.Image
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    mask: Image.Image
    latent_mask: Image.Image


def run_outpainting_mk2(request: Img2ImgRequest, args: OutpaintingMk2Args) -> ScriptRun:
    """Yield hidden cells for each direction, one for each image of the result.

    Args:
        request: Width and height limit the part that is repainted at once.
        args: Directions and noise.

    Raises:
        UserError: there is no direction, or a cell has failed.
    """
    if request.init_image is None or not args.direction:
        raise UserError("Outpainting needs a picture and a direction.", "Choose at least one.")
    image = request.init_image.to_pil()
    sides = _sides(image.size, args)
    blurs = {
        "mask_blur": args.mask_blur * _BLUR * any(side.is_horizontal for side in sides),
        "mask_blur_y": args.mask_blur * _BLUR * any(not side.is_horizontal for side in sides),
    }
    images = [image] * (request.n_iter * request.batch_size)
    first: list[GeneratedImage] = []
    for side in sides:
        # At first all are one image; its noise takes seconds, and a form that is only estimated needs none.
        made = {id(one): cache(partial(_extend, one, request, side, args)) for one in images}
        extended = [made[id(one)] for one in images]
        results = yield [
            _make_cell(request.replace(**blurs), one, side, index)
            for index, one in enumerate(extended)
        ]
        painted = [_first_image(result) for result in results]
        first = first or painted
        images = [_put_back(one(), image) for one, image in zip(extended, painted, strict=True)]
    return _make_result(request, images, first)


def _sides(size: tuple[int, int], args: OutpaintingMk2Args) -> list[_Side]:
    left, top, right, bottom = expanded_sides(size, args.pixels, args.direction)
    sides = (
        _Side("left", left, True, True),
        _Side("right", right, True, False),
        _Side("up", top, False, True),
        _Side("down", bottom, False, False),
    )
    return [side for side in sides if side.pixels]


def _extend(
    image: Image.Image, request: Img2ImgRequest, side: _Side, args: OutpaintingMk2Args
) -> _Extended:
    added = (side.pixels, 0) if side.is_horizontal else (0, side.pixels)
    size = image.width + added[0], image.height + added[1]
    whole_size = rounded_up(size[0]), rounded_up(size[1])
    part = list(whole_size)
    axis = 0 if side.is_horizontal else 1
    limit = (request.width, request.height)[axis]
    part[axis] = min(limit, size[axis]) // SIZE_MULTIPLE * SIZE_MULTIPLE
    whole = Image.new("RGB", whole_size)
    whole.paste(image, added if side.is_first else (0, 0))
    reach = side.pixels + args.mask_blur * _REACH
    mask = edge_mask(whole_size, _kept_box(side, whole_size, size, reach))
    noised = matched_noise(
        np.asarray(whole) / 255, np.asarray(mask) / 255, args.noise_q, args.color_variation
    )
    filled = Image.fromarray((noised * 255).astype(np.uint8))  # truncated, as in A1111
    left, top = (0, 0) if side.is_first else (whole_size[0] - part[0], whole_size[1] - part[1])
    box = (left, top, left + part[0], top + part[1])
    latent_reach = side.pixels + args.mask_blur * _LATENT_REACH
    latent_mask = edge_mask(
        (part[0], part[1]), _kept_box(side, (part[0], part[1]), size, latent_reach)
    )
    return _Extended(filled, size, box, mask.crop(box), latent_mask)


def _kept_box(
    side: _Side, canvas: tuple[int, int], size: tuple[int, int], reach: int
) -> tuple[int, int, int, int]:
    """Return the box that a mask keeps: what lies further than `reach` from the edge where the image grows."""
    left, top = 0, 0
    right, bottom = size
    if side.is_first:
        left, top = (reach, 0) if side.is_horizontal else (0, reach)
    elif side.is_horizontal:
        right = canvas[0] - reach
    else:
        bottom = canvas[1] - reach
    return left, top, right, bottom


def _make_cell(
    request: Img2ImgRequest, extend: Callable[[], _Extended], side: _Side, index: int
) -> Cell:
    def make_request() -> Img2ImgRequest:
        extended = extend()
        changes: dict[str, Any] = {
            "init_image": ImageField.from_pil(extended.whole.crop(extended.box)),
            "mask": ImageField.from_pil(extended.mask, MASK),
            "latent_mask": ImageField.from_pil(extended.latent_mask, MASK),
            "width": extended.mask.width,
            "height": extended.mask.height,
            "inpainting_fill": _ORIGINAL,
            "inpaint_full_res": False,
            "inpainting_mask_invert": False,
            "seed": shift_seed(request.seed, index * (request.subseed_strength == 0)),
            "subseed": shift_seed(request.subseed, index),
            "n_iter": 1,
            "batch_size": 1,
        }
        return request.replace(**changes)

    return Cell(f"{side.name} side", make_request, is_shown=False)


def _first_image(result: CellResult) -> GeneratedImage:
    """Return the image of a cell.

    Raises:
        UserError: it has none.
    """
    if not result.images:
        raise UserError(result.error)
    return result.images[0]


def _put_back(extended: _Extended, painted: GeneratedImage) -> Image.Image:
    whole = extended.whole.copy()
    whole.paste(read_image(painted.path), extended.box[:2])
    return whole.crop((0, 0, *extended.size))


def _make_result(
    request: Img2ImgRequest, images: Sequence[Image.Image], first: Sequence[GeneratedImage]
) -> ScriptResult:
    made = [
        ScriptImage(image, origin.infotext, origin.seed)
        for image, origin in zip(images, first, strict=True)
    ]
    if len(made) < 2:
        return ScriptResult(images=tuple(made))

    def draw(settings: GridSettings) -> Image.Image:
        check_grid_size((images[0].width * len(images), images[0].height))
        grid = make_grid(images, request.batch_size, settings)
        assert grid is not None
        return grid

    grid = ScriptImage(draw, first[0].infotext, first[0].seed, "grid")
    return ScriptResult(images=(*made, grid))


OUTPAINTING_MK2 = Script(
    "Outpainting mk2",
    run_outpainting_mk2,
    OutpaintingMk2Args,
    list_fields=("", *OutpaintingMk2Args.model_fields),
    cell_count=lambda args: len(args.direction),
    noun="side",
    has_one_seed=True,
    tasks=frozenset(("img2img",)),
)
