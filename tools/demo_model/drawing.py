"""Paints a scene: the picture, and the true depth of every pixel from the same strokes."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np

from tools.demo_model.canvas import Canvas, blend, jitter, scale
from tools.demo_model.landscape import paint_landscape
from tools.demo_model.scenes import COLORS, Scene, ShapeScene

if TYPE_CHECKING:
    from tools.demo_model.canvas import Point, Rgb

WHITE = (255, 255, 255)
SIZE_RADII = {"small": 0.13, "medium": 0.23, "large": 0.36}  # of the shorter side
SHAPE_DEPTH = 0.8


def outline(shape: str, x: float, y: float, radius: float) -> list[Point]:
    """Return the corners of a shape around a center."""
    if shape == "square":
        a = radius * 0.88
        return [(x - a, y - a), (x + a, y - a), (x + a, y + a), (x - a, y + a)]
    if shape == "triangle":
        return [(x, y - radius), (x + radius, y + radius * 0.8), (x - radius, y + radius * 0.8)]
    if shape == "diamond":
        a, b = radius * 0.85, radius * 1.15
        return [(x, y - b), (x + a, y), (x, y + b), (x - a, y)]
    if shape == "star":
        spokes = [(radius * (1.15 if i % 2 == 0 else 0.48), i * math.pi / 5) for i in range(10)]
        return [(x + r * math.sin(a), y - r * math.cos(a)) for r, a in spokes]
    if shape == "heart":
        return [_heart(x, y, radius, i * 2 * math.pi / 60) for i in range(60)]
    turns = [i * math.pi / 36 for i in range(72)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in turns]


def _heart(x: float, y: float, radius: float, t: float) -> Point:
    """Return a point of the classic heart curve, x = 16 sin^3 t."""
    rise = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return x + radius * 1.05 * math.sin(t) ** 3, y - radius * 1.05 * (rise + 2) / 16


def _places(scene: ShapeScene, rng: random.Random) -> list[tuple[float, float, float]]:
    """Return center and radius of every shape, in parts of width, height and shorter side."""

    def shake(amount: float) -> float:
        return rng.uniform(-amount, amount)

    if scene.is_single:
        radius = SIZE_RADII[scene.size] * rng.uniform(0.94, 1.06)
        step = min(0.26, 0.5 - radius * 1.12)
        dx = {"left": -step, "right": step}.get(scene.position, 0.0)
        dy = {"top": -step, "bottom": step}.get(scene.position, 0.0)
        return [(0.5 + dx + shake(0.02), 0.5 + dy + shake(0.02), radius)]
    if len(scene.things) == 2:
        radius = rng.uniform(0.165, 0.185)
        return [(x + shake(0.015), 0.5 + shake(0.02), radius) for x in (0.27, 0.73)]
    radius = rng.uniform(0.12, 0.13)
    return [(x + shake(0.01), 0.5 + shake(0.02), radius) for x in (0.2, 0.5, 0.8)]


def _shade(color: Rgb) -> tuple[Rgb, Rgb]:
    return blend(color, WHITE, 0.12), scale(color, 0.88)


def paint_shapes(canvas: Canvas, scene: ShapeScene, rng: random.Random) -> None:
    """Paint the background and the shapes, each softly lit from above."""
    top, bottom = _shade(jitter(COLORS[scene.background], 4, rng))
    canvas.gradient([(0.0, top), (1.0, bottom)])
    for thing, (x, y, radius) in zip(scene.things, _places(scene, rng), strict=True):
        top, bottom = _shade(jitter(COLORS[thing.color], 4, rng))
        r = radius * canvas.short
        corners = outline(thing.shape, x * canvas.width, y * canvas.height, r)
        stops = [(y - r / canvas.height, top), (y + r / canvas.height, bottom)]
        canvas.gradient(stops, corners, SHAPE_DEPTH)


def draw(
    scene: Scene, width: int, height: int, supersampling: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture and the depth map of a scene.

    Args:
        scene: What to paint; its seed decides the small variations, so equal scenes are equal.
        width: Width in pixels.
        height: Height in pixels.
        supersampling: Edges are smoothed by painting this many times larger.

    Returns:
        uint8 [height, width, 3], and float32 [height, width] from 0 (far) to 1 (near).
    """
    canvas = Canvas(width * supersampling, height * supersampling)
    rng = random.Random(scene.seed)
    paint = paint_shapes if isinstance(scene, ShapeScene) else paint_landscape
    paint(canvas, scene, rng)
    image, depth = canvas.image, canvas.depth
    if supersampling > 1:
        image, depth = image.reduce(supersampling), depth.reduce(supersampling)
    return np.array(image), np.asarray(depth).astype(np.float32) / 255
