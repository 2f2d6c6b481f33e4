"""Paints landscapes: sky, ground, and the subject on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tools.demo_model.canvas import blend, jitter, scale
from tools.demo_model.scenes import COLORS, Landscape

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tools.demo_model.canvas import Canvas, Rgb, Stop


@dataclass(frozen=True)
class Light:
    """The light of a time of day."""

    sky: tuple[Stop, ...]
    brightness: float
    tint: Rgb
    body: Rgb  # sun or moon
    body_height: float  # of the picture; above the horizon if negative


LIGHTS = {
    "day": Light(
        ((0.0, (64, 136, 228)), (0.65, (186, 220, 250))),
        1.0,
        (255, 255, 255),
        (255, 236, 110),
        0.22,
    ),
    "sunset": Light(
        ((0.0, (92, 58, 132)), (0.38, (236, 104, 80)), (0.65, (255, 196, 104))),
        *(0.72, (255, 170, 120), (255, 226, 120), -0.1),
    ),
    "night": Light(
        ((0.0, (8, 10, 38)), (0.65, (36, 44, 104))), 0.36, (90, 110, 200), (240, 240, 222), 0.22
    ),
    "sunrise": Light(
        ((0.0, (140, 150, 214)), (0.35, (246, 178, 196)), (0.65, (255, 226, 204))),
        *(0.88, (255, 215, 215), (255, 244, 190), -0.1),
    ),
    "cloudy": Light(
        ((0.0, (122, 132, 146)), (0.65, (190, 196, 204))),
        0.8,
        (210, 215, 225),
        (255, 255, 255),
        0.2,
    ),
}
SIDE_PLACES = {"left": 0.25, "center": 0.5, "right": 0.75}
HORIZON = 0.6


@dataclass(frozen=True)
class Painter:
    """Canvas, random draws and the light of one landscape."""

    canvas: Canvas
    rng: random.Random
    scene: Landscape
    light: Light

    def lit(self, color: Rgb, share: float = 0.18) -> Rgb:
        """Return a color in the light of the hour."""
        brightness = self.light.brightness
        return blend(scale(color, brightness), scale(self.light.tint, brightness), share)

    def shake(self, amount: float) -> float:
        """Return a small random offset."""
        return self.rng.uniform(-amount, amount)

    def ridge(self, height: float, swing: float, waves: float, color: Rgb, depth: float) -> None:
        """Paint wavy ground from a height down to the bottom edge."""
        phase = self.rng.uniform(0, 2 * math.pi)
        x = np.linspace(-0.02, 1.02, 60)
        angle = x * waves * 2 * math.pi
        y = (
            height
            + 0.7 * swing * np.sin(angle + phase)
            + 0.3 * swing * np.sin(2.1 * angle + 1.7 * phase)
        )
        points = self.points(zip(x, y, strict=True))
        self.canvas.polygon([*points, *self.points(((1.02, 1.02), (-0.02, 1.02)))], color, depth)

    def points(self, parts: object) -> list[tuple[float, float]]:
        """Return points given in parts of width and height, in pixels."""
        return [(float(x) * self.canvas.width, float(y) * self.canvas.height) for x, y in parts]


def _sky(p: Painter) -> None:
    shift = [p.shake(5) for _ in range(3)]
    stops = [
        (place, tuple(int(min(255, max(0, c + s))) for c, s in zip(color, shift, strict=True)))
        for place, color in p.light.sky
    ]
    p.canvas.gradient(stops)


def _body_x(p: Painter) -> float:
    """Return the position of sun or moon: away from the subject, so that both are visible."""
    return {"left": 0.73, "center": 0.76, "right": 0.27}[p.scene.side] + p.shake(0.04)


def _sky_objects(p: Painter, body_x: float) -> None:
    canvas, rng, scene = p.canvas, p.rng, p.scene
    w, h, m = canvas.width, canvas.height, canvas.short
    if scene.has_stars:
        for k in range(20):
            x, y = ((k % 5) + rng.uniform(0.15, 0.85)) / 5, ((k // 5) + rng.uniform(0.15, 0.85)) / 4
            radius = rng.uniform(0.007, 0.012) * m
            canvas.disc((x * w, y * 0.5 * h), radius, (238, 238, 218))
    if scene.has_body:
        height = p.light.body_height
        y = height + p.shake(0.03) if height > 0 else HORIZON + height + p.shake(0.03)
        center, radius = (body_x * w, y * h), rng.uniform(0.085, 0.1) * m
        canvas.disc(center, radius * 1.4, blend(canvas.color_at(*center), p.light.body, 0.3))
        canvas.disc(center, radius, p.light.body, 0.04)
    if scene.has_clouds:
        color = (250, 250, 252) if scene.time == "day" else (226, 228, 232)
        places = (
            ((0.2, 0.2), (0.55, 0.12), (0.84, 0.27))
            if scene.time == "cloudy"
            else ((0.2, 0.24), (0.5, 0.13))
        )
        for x, y in places:
            _cloud(
                canvas,
                (x + p.shake(0.05)) * w,
                (y + p.shake(0.03)) * h,
                rng.uniform(0.058, 0.072) * m,
                color,
            )


def _cloud(canvas: Canvas, x: float, y: float, size: float, color: Rgb) -> None:
    for dx, dy, k in ((-1.3, 0.2, 0.75), (0.0, -0.2, 1.1), (1.2, 0.15, 0.85)):
        canvas.disc((x + dx * size, y + dy * size), k * size, color, 0.1)
    canvas.box((x - 1.5 * size, y + 0.3 * size), (x + 1.5 * size, y + 0.95 * size), color, 0.1)


def _mountains(p: Painter) -> float:
    layers = (
        (HORIZON - 0.02, 0.3, (124, 132, 160), 0.2),
        (HORIZON + 0.06, 0.2, (84, 92, 118), 0.35),
    )
    for base, height, color, depth in layers:
        peaks = (0.22, 0.72) if base < HORIZON else (0.05, 0.48, 0.93)
        for x in peaks:
            _peak(p, x + p.shake(0.06), base, height * p.rng.uniform(0.82, 1.08), (color, depth))
        p.canvas.box(
            (0, (base + 0.12) * p.canvas.height),
            (p.canvas.width, p.canvas.height),
            p.lit(color),
            depth,
        )
    p.ridge(HORIZON + 0.14, 0.012, 0.8, p.lit((78, 140, 72)), 0.5)
    return HORIZON + 0.2


def _peak(p: Painter, x: float, base: float, height: float, look: tuple[Rgb, float]) -> None:
    """Paint one mountain; the far ones carry snow."""
    color, depth = p.lit(look[0]), look[1]
    half = p.rng.uniform(0.28, 0.34)
    left, top, right = (x - half, base + 0.12), (x, base - height), (x + half, base + 0.12)
    p.canvas.polygon(p.points((left, top, right)), color, depth)
    p.canvas.polygon(p.points((top, right, (x + half * 0.15, base + 0.12))), scale(color, 0.84))
    if base < HORIZON:
        f, tall = 0.26, height + 0.12
        snow = (
            top,
            (x + half * f, top[1] + tall * f),
            (x, top[1] + tall * f * 0.8),
            (x - half * f, top[1] + tall * f),
        )
        p.canvas.polygon(p.points(snow), p.lit((244, 246, 250), 0.1))


def _sea(p: Painter, body_x: float) -> float:
    canvas, w, h = p.canvas, p.canvas.width, p.canvas.height
    water = p.lit((40, 116, 176), 0.25)
    tint = scale(p.light.tint, p.light.brightness)
    corners = p.points(((0, HORIZON), (1.01, HORIZON), (1.01, 1.01), (0, 1.01)))
    canvas.gradient([(HORIZON, blend(water, tint, 0.25)), (1.0, scale(water, 0.72))], corners, 0.4)
    if p.scene.has_body:
        shine = blend(water, (225, 228, 225) if p.scene.time == "night" else (255, 232, 170), 0.6)
        for i in range(5):
            y, half = HORIZON + 0.03 + i * 0.07, 0.05 + 0.018 * i
            canvas.box(((body_x - half) * w, y * h), ((body_x + half) * w, (y + 0.016) * h), shine)
    canvas.ramp(HORIZON, 0.25, 0.7)
    return HORIZON + 0.16


def _waves(p: Painter, ridges: Sequence[tuple[float, float, float, Rgb, float]]) -> None:
    for drop, swing, waves, color, depth in ridges:
        p.ridge(
            HORIZON + drop, swing, waves, p.lit(color, 0.1 if min(color) > 200 else 0.18), depth
        )


LAND = {
    "hills": (
        (
            (0.0, 0.06, 1.1, (118, 178, 92), 0.3),
            (0.12, 0.05, 0.8, (88, 156, 72), 0.45),
            (0.26, 0.04, 0.9, (64, 132, 62), 0.6),
        ),
        0.2,
    ),
    "desert": (
        ((0.02, 0.05, 0.9, (232, 190, 120), 0.3), (0.16, 0.05, 0.7, (218, 168, 96), 0.5)),
        0.16,
    ),
    "snow": (
        ((0.02, 0.05, 0.9, (222, 232, 244), 0.3), (0.15, 0.04, 0.7, (242, 246, 252), 0.5)),
        0.16,
    ),
    "meadow": (
        ((0.03, 0.012, 0.8, (110, 182, 80), 0.35), (0.2, 0.02, 0.8, (84, 158, 66), 0.5)),
        0.13,
    ),
}  # ground: ridges from far to near (drop below the horizon, swing, waves, color, depth), foot


def _tree(p: Painter, x: float, y: float, size: float, depth: float) -> None:
    canvas = p.canvas
    x, y, k = x * canvas.width, y * canvas.height, size * canvas.short
    canvas.box((x - k * 0.08, y - k * 0.5), (x + k * 0.08, y), p.lit((112, 72, 40), 0.1), depth)
    leaves = p.lit(jitter((46, 126, 52), 6, p.rng), 0.08)
    if p.scene.ground in ("snow", "mountains"):
        for low, high, half in ((0.25, 0.75, 0.34), (0.55, 1.0, 0.27), (0.8, 1.22, 0.19)):
            corners = [(x - k * half, y - k * low), (x, y - k * high), (x + k * half, y - k * low)]
            canvas.polygon(corners, leaves, depth)
    else:
        for dx, dy, radius in ((-0.2, 0.62, 0.26), (0.2, 0.62, 0.26), (0.0, 0.86, 0.3)):
            canvas.disc((x + k * dx, y - k * dy), k * radius, leaves, depth)


def _house(p: Painter, x: float, y: float, size: float) -> None:
    canvas, light = p.canvas, p.light.brightness
    x, y, k = x * canvas.width, y * canvas.height, size * canvas.short
    roof = scale(jitter(COLORS[p.scene.subject_color], 4, p.rng), max(light, 0.65))
    canvas.box((x - k * 0.5, y - k * 0.55), (x + k * 0.5, y), p.lit((238, 222, 196), 0.1), 0.75)
    corners = [(x - k * 0.64, y - k * 0.55), (x, y - k * 1.08), (x + k * 0.64, y - k * 0.55)]
    canvas.polygon(corners, roof, 0.75)
    canvas.box(
        (x - k * 0.11, y - k * 0.34), (x + k * 0.11, y), scale(p.lit((110, 70, 44), 0.05), 0.9)
    )
    pane = (255, 226, 130) if light < 0.8 else (150, 196, 226)
    for left in (-0.4, 0.2):
        canvas.box((x + k * left, y - k * 0.42), (x + k * (left + 0.2), y - k * 0.2), pane)


def _boat(p: Painter, x: float, y: float, size: float) -> None:
    canvas = p.canvas
    x, y, k = x * canvas.width, y * canvas.height, size * canvas.short
    hull = scale(jitter(COLORS[p.scene.subject_color], 4, p.rng), max(p.light.brightness, 0.65))
    hull_corners = ((-0.55, -0.12), (0.55, -0.12), (0.34, 0.14), (-0.34, 0.14))
    canvas.polygon([(x + k * a, y + k * b) for a, b in hull_corners], hull, 0.7)
    sails = (
        (((-0.02, -0.85), (-0.02, -0.18), (0.42, -0.18)), (250, 248, 240)),
        (*(((-0.08, -0.7), (-0.08, -0.18), (-0.36, -0.18)), (230, 226, 216)),),
    )
    for corners, color in sails:
        canvas.polygon([(x + k * a, y + k * b) for a, b in corners], p.lit(color, 0.05), 0.7)


def _subject(p: Painter, foot: float) -> None:
    x, subject = SIDE_PLACES[p.scene.side] + p.shake(0.02), p.scene.subject
    size = p.rng.uniform(0.29, 0.33)
    if subject == "house":
        _house(p, x, foot + 0.08, size)
    elif subject == "tree":
        _tree(p, x, foot + 0.1, size * 1.25, 0.75)
    elif subject == "trees":
        for place in (0.2, 0.5, 0.8):
            _tree(p, place + p.shake(0.04), foot + 0.09 + p.shake(0.015), size * 0.83, 0.7)
    elif subject == "boat":
        _boat(p, x, HORIZON + 0.15, size)


def paint_landscape(canvas: Canvas, scene: Landscape, rng: random.Random) -> None:
    """Paint sky, ground and subject."""
    painter = Painter(canvas, rng, scene, LIGHTS[scene.time])
    body_x = _body_x(painter)
    _sky(painter)
    _sky_objects(painter, body_x)
    if scene.ground == "mountains":
        foot = _mountains(painter)
    elif scene.ground == "sea":
        foot = _sea(painter, body_x)
    else:
        ridges, drop = LAND[scene.ground]
        _waves(painter, ridges)
        foot = HORIZON + drop
    _subject(painter, foot)
