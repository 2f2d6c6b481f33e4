"""Brush strokes as they come from the page: checked, and painted at the picture's full size.

A stroke is a path and a radius in the picture's own pixels, so that the browser may show the picture at any size.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageDraw

from modules.core.errors import UserError

MAX_TEXT_LENGTH = 4 * 2**20  # characters
MAX_POINTS = 200_000  # of all strokes together
MAX_COORDINATE = 65536.0  # pixels; a stroke may leave the picture
# What all strokes together may cover, overlaps counted: some seconds of painting.
MAX_PAINTED_PIXELS = 10**10
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_HINT = "Clear it and paint again."


@dataclass(frozen=True)
class Stroke:
    """One path of the brush, its ends round.

    Args:
        radius: Half the brush's width in pixels.
        points: The path.
        colour: "#rrggbb"; None takes away what was painted before.
    """

    radius: float
    points: tuple[tuple[float, float], ...]
    colour: str | None


@dataclass(frozen=True)
class Strokes:
    """All that was painted over a picture, oldest first.

    Args:
        size: Width and height of the picture.
        strokes: Later ones lie over earlier ones.
    """

    size: tuple[int, int]
    strokes: tuple[Stroke, ...] = ()

    def to_mask(self) -> Image.Image:
        """Return mode L in the picture's size: 255 where something is painted, else 0."""
        mask = Image.new("L", self.size)
        draw = ImageDraw.Draw(mask)
        for stroke in self.strokes:
            _paint(draw, stroke, 0 if stroke.colour is None else 255)
        return mask

    def paint_over(self, image: Image.Image) -> Image.Image:
        """Return the picture, RGB and of this size, with the strokes on it; what was erased shows it again."""
        painted = Image.new("RGB", self.size)
        draw = ImageDraw.Draw(painted)
        for stroke in self.strokes:
            if stroke.colour is not None:
                _paint(draw, stroke, stroke.colour)
        return Image.composite(painted, image, self.to_mask())


def parse_strokes(text: str, size: tuple[int, int]) -> Strokes:
    """Return the strokes in the page's text, such as `{"size":[64,48],"strokes":[{"radius":4,"points":[8,8,9,9]}]}`.

    Args:
        text: JSON; `colour` is missing for a mask, `erase` is true for the eraser. Empty when nothing was painted.
        size: Of the picture that is painted on.

    Raises:
        UserError: it is no such text, was painted on a picture of another size, or would take too long to paint.
    """
    if not text:
        return Strokes(size)
    try:
        found = _checked(text)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError("The brush strokes cannot be read.", _HINT) from None
    if found.strokes and found.size != size:
        was, now = (f"{one[0]}x{one[1]}" for one in (found.size, size))
        raise UserError(
            f"The brush strokes were painted on a picture of {was}, and this one is {now}.", _HINT
        )
    if sum(_cost(stroke, size) for stroke in found.strokes) > MAX_PAINTED_PIXELS:
        raise UserError("The brush strokes are too many for a picture of this size.", _HINT)
    return Strokes(size, found.strokes)


def _checked(text: str) -> Strokes:
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError("too long")
    data = cast("dict[str, Any]", json.loads(text))  # JSON: anything; what is wrong raises below
    width, height = (int(side) for side in data["size"])
    strokes = tuple(_stroke(one) for one in data["strokes"])
    if sum(len(stroke.points) for stroke in strokes) > MAX_POINTS:
        raise ValueError("too many points")
    return Strokes((width, height), strokes)


def _stroke(one: dict[str, Any]) -> Stroke:
    numbers = [_number(value) for value in one["points"]]
    points = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    radius = _number(one["radius"])
    colour = None if one.get("erase") else one.get("colour", "#ffffff")
    if radius <= 0 or not points or not (colour is None or _COLOUR.fullmatch(colour)):
        raise ValueError("no stroke")
    return Stroke(radius, points, colour)


def _number(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= MAX_COORDINATE
    ):
        raise ValueError("no coordinate")
    return float(value)


def _cost(stroke: Stroke, size: tuple[int, int]) -> float:
    """Return about how many pixels are painted."""
    width = 2 * stroke.radius
    ends = zip(stroke.points, stroke.points[1:], strict=False)
    lengths = [0.0, *(math.dist(a, b) for a, b in ends)]
    return sum(min(size[0] * size[1], width * (width + length)) for length in lengths)


def _paint(draw: ImageDraw.ImageDraw, stroke: Stroke, fill: int | str) -> None:
    r = stroke.radius
    before: tuple[float, float] | None = None
    for x, y in stroke.points:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        if before is not None and before != (x, y):
            u, v = before
            length = math.dist(before, (x, y))
            a, b = (v - y) / length * r, (x - u) / length * r  # across the path, to its edge
            draw.polygon([(u + a, v + b), (x + a, y + b), (x - a, y - b), (u - a, v - b)], fill)
        before = (x, y)
