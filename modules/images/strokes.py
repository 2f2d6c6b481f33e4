"""Brush strokes from the page: parsed, validated and drawn at the image's full size.

A stroke is a path and a radius in image pixels, so that the browser may show the image at any size.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageDraw

from modules.core.errors import UserError

MAX_TEXT_LENGTH = 4 * 2**20  # characters
MAX_POINTS = 200_000  # in all strokes together
MAX_COORDINATE = 65536.0  # pixels; strokes may extend beyond the image
# Area of all strokes together, overlaps counted: some seconds of drawing.
MAX_PAINTED_PIXELS = 10**10
_COLOUR = re.compile(r"#[0-9a-f]{6}|")
_HINT = "Clear it and paint again."


@dataclass(frozen=True)
class Stroke:
    """One brush path with round ends.

    Args:
        radius: Half the brush width in pixels.
        points: The path.
        colour: "#rrggbb"; "" only masks, None erases.
    """

    radius: float
    points: tuple[tuple[float, float], ...]
    colour: str | None


@dataclass(frozen=True)
class Strokes:
    """All strokes on an image.

    Args:
        size: Width and height of the image.
        strokes: Oldest first; later strokes cover earlier ones.
    """

    size: tuple[int, int]
    strokes: tuple[Stroke, ...] = ()

    def to_mask(self) -> Image.Image:
        """Return a mask, mode L, of the image's size: 255 where painted, else 0."""
        return _mask(self.size, self.strokes)

    def paint_over(self, image: Image.Image) -> Image.Image:
        """Return the image, RGB and of this size, with the coloured strokes on it; erased areas show the image."""
        painted = Image.new("RGB", self.size)
        draw = ImageDraw.Draw(painted)
        for stroke in self.strokes:
            if stroke.colour:
                _draw(draw, stroke, stroke.colour)
        coloured = [stroke for stroke in self.strokes if stroke.colour != ""]
        return Image.composite(painted, image, _mask(self.size, coloured))


def parse_strokes(text: str, size: tuple[int, int]) -> Strokes:
    """Return the strokes in the page's JSON, such as `{"size":[64,48],"strokes":[{"radius":4,"points":[8,8,9,9]}]}`.

    Args:
        text: JSON; `colour` is missing where a stroke only masks, `erase` is true for the eraser. Empty if nothing was
            painted.
        size: Width and height of the image to paint on.

    Raises:
        UserError: the text is invalid, belongs to an image of another size, or would take too long to draw.
    """
    if not text:
        return Strokes(size)
    try:
        parsed = _parse(text)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError("The brush strokes cannot be read.", _HINT) from None
    if parsed.strokes and parsed.size != size:
        old, new = (f"{width}x{height}" for width, height in (parsed.size, size))
        raise UserError(
            f"The brush strokes were painted on a picture of {old}, but this one is {new}.", _HINT
        )
    if sum(_painted_pixels(stroke, size) for stroke in parsed.strokes) > MAX_PAINTED_PIXELS:
        raise UserError("There are too many brush strokes for a picture of this size.", _HINT)
    return Strokes(size, parsed.strokes)


def _parse(text: str) -> Strokes:
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError("too long")
    data = cast("dict[str, Any]", json.loads(text))  # any JSON: wrong types raise below
    width, height = (int(side) for side in data["size"])
    strokes = tuple(_parse_stroke(stroke) for stroke in data["strokes"])
    if sum(len(stroke.points) for stroke in strokes) > MAX_POINTS:
        raise ValueError("too many points")
    return Strokes((width, height), strokes)


def _parse_stroke(data: dict[str, Any]) -> Stroke:
    numbers = [_parse_number(value) for value in data["points"]]
    points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    radius = _parse_number(data["radius"])
    colour = None if data.get("erase") else data.get("colour", "")
    if radius <= 0 or not points or not (colour is None or _COLOUR.fullmatch(colour)):
        raise ValueError("not a stroke")
    return Stroke(radius, points, colour)


def _parse_number(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= MAX_COORDINATE
    ):
        raise ValueError("not a coordinate")
    return float(value)


def _painted_pixels(stroke: Stroke, size: tuple[int, int]) -> float:
    """Return the approximate number of pixels that drawing a stroke touches."""
    width = 2 * stroke.radius
    segments = zip(stroke.points, stroke.points[1:], strict=False)
    lengths = [0.0, *(math.dist(a, b) for a, b in segments)]
    return sum(min(size[0] * size[1], width * (width + length)) for length in lengths)


def _mask(size: tuple[int, int], strokes: Iterable[Stroke]) -> Image.Image:
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        _draw(draw, stroke, 0 if stroke.colour is None else 255)
    return mask


def _draw(draw: ImageDraw.ImageDraw, stroke: Stroke, fill: int | str) -> None:
    r = stroke.radius
    previous: tuple[float, float] | None = None
    for x, y in stroke.points:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        if previous is not None and previous != (x, y):
            u, v = previous
            length = math.dist(previous, (x, y))
            a, b = (v - y) / length * r, (x - u) / length * r  # normal of the path, of length r
            draw.polygon([(u + a, v + b), (x + a, y + b), (x - a, y - b), (u - a, v - b)], fill)
        previous = (x, y)
