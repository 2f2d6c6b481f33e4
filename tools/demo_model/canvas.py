"""A picture and its depth map, painted with the same strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Rgb = tuple[int, int, int]
Point = tuple[float, float]
Stop = tuple[float, Rgb]  # height from 0 (top) to 1 (bottom), and the color there


def jitter(color: Rgb, amount: float, rng: random.Random) -> Rgb:
    """Return the color with every channel moved by up to `amount`."""
    return tuple(int(min(255, max(0, v + rng.uniform(-amount, amount)))) for v in color)


def scale(color: Rgb, factor: float) -> Rgb:
    """Return the color made darker or lighter."""
    return tuple(int(min(255, max(0, v * factor))) for v in color)


def blend(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Return the color `share` of the way from a to b."""
    return tuple(int(x * (1 - share) + y * share) for x, y in zip(a, b, strict=True))


class Canvas:
    """An RGB image and a depth image (0 far, 255 near) that are painted together.

    Attributes:
        width: Width in pixels, supersampling included.
        height: Height in pixels, supersampling included.
        short: The shorter side, the unit of sizes.
    """

    def __init__(self, width: int, height: int) -> None:
        """Make a black picture that is infinitely far away."""
        self.width, self.height = width, height
        self.short = min(width, height)
        self.image = Image.new("RGB", (width, height))
        self.depth = Image.new("L", (width, height))
        self._pen = ImageDraw.Draw(self.image)
        self._depth_pen = ImageDraw.Draw(self.depth)

    def polygon(self, points: Sequence[Point], color: Rgb, depth: float | None = None) -> None:
        """Fill a polygon; without a depth, the depth map keeps what is below."""
        self._pen.polygon(points, fill=color)
        if depth is not None:
            self._depth_pen.polygon(points, fill=round(depth * 255))

    def disc(self, center: Point, radius: float, color: Rgb, depth: float | None = None) -> None:
        """Fill a circle."""
        (x, y), r = center, radius
        box = (x - r, y - r, x + r, y + r)
        self._pen.ellipse(box, fill=color)
        if depth is not None:
            self._depth_pen.ellipse(box, fill=round(depth * 255))

    def box(
        self, left_top: Point, right_bottom: Point, color: Rgb, depth: float | None = None
    ) -> None:
        """Fill a rectangle."""
        self._pen.rectangle((*left_top, *right_bottom), fill=color)
        if depth is not None:
            self._depth_pen.rectangle((*left_top, *right_bottom), fill=round(depth * 255))

    def gradient(
        self,
        stops: Sequence[Stop],
        points: Sequence[Point] | None = None,
        depth: float | None = None,
    ) -> None:
        """Fill the whole canvas, or a polygon, with colors that change from top to bottom."""
        heights = np.linspace(0, 1, self.height, dtype=np.float32)
        places = [place for place, _ in stops]
        column = np.stack(
            [np.interp(heights, places, [color[k] for _, color in stops]) for k in range(3)], 1
        )
        column = Image.fromarray(column.round().astype(np.uint8)[:, None])
        if points is None:
            self.image.paste(column.resize((self.width, self.height), Image.Resampling.NEAREST))
            return
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        left, right = max(0, int(min(xs))), min(self.width, int(max(xs)) + 2)
        top, bottom = max(0, int(min(ys))), min(self.height, int(max(ys)) + 2)
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=255)
        patch = column.crop((0, top, 1, bottom)).resize(mask.size, Image.Resampling.NEAREST)
        self.image.paste(patch, (left, top), mask)
        if depth is not None:
            self._depth_pen.polygon(points, fill=round(depth * 255))

    def ramp(self, top: float, far: float, near: float) -> None:
        """Make the depth below a height (0 to 1) come closer toward the bottom edge."""
        start = int(top * self.height)
        rows = np.linspace(far, near, self.height - start) * 255
        column = Image.fromarray(rows.round().astype(np.uint8)[:, None])
        self.depth.paste(
            column.resize((self.width, len(rows)), Image.Resampling.NEAREST), (0, start)
        )

    def color_at(self, x: float, y: float) -> Rgb:
        """Return the color of the pixel nearest to a point, clamped into the picture."""
        px = min(self.width - 1, max(0, int(x)))
        py = min(self.height - 1, max(0, int(y)))
        return self.image.getpixel((px, py))
