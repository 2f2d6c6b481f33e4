"""Describes what a training picture shows: shapes on a background, or a landscape.

Knows no words and no pixels; `captions.py` writes a scene down, `drawing.py` paints it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

COLORS = {
    "red": (220, 38, 38),
    "orange": (246, 132, 30),
    "yellow": (252, 218, 50),
    "green": (44, 164, 70),
    "blue": (38, 92, 220),
    "purple": (128, 56, 180),
    "pink": (246, 140, 188),
    "white": (246, 246, 246),
    "black": (22, 22, 26),
    "gray": (134, 138, 144),
    "brown": (124, 78, 42),
    "cyan": (64, 204, 224),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond")
# Circles and squares differ least, so both are drawn more often than the others.
SHAPE_SHARES = (2.5, 2.0, 1.0, 1.5, 1.0, 1.0)
SIZES = ("small", "medium", "large")
POSITIONS = ("center", "left", "right", "top", "bottom")
TIMES = ("day", "sunset", "night", "sunrise", "cloudy")
GROUNDS = ("mountains", "hills", "sea", "desert", "snow", "meadow")
SUBJECTS = ("none", "house", "tree", "trees", "boat")
SIDED_SUBJECTS = ("house", "tree", "boat")  # the others fill the width
SUBJECT_COLORS = ("red", "blue", "green", "orange", "purple", "brown", "yellow", "white")
SIDES = ("left", "center", "right")
HELD_OUT_SHARE = 10  # one combination in ten is never trained on


@dataclass(frozen=True)
class Thing:
    """One flat shape."""

    shape: str
    color: str


@dataclass(frozen=True)
class ShapeScene:
    """One to three shapes on a plain background; `seed` decides the small variations."""

    seed: int
    background: str
    things: tuple[Thing, ...]
    size: str = "medium"
    position: str = "center"

    @property
    def is_single(self) -> bool:
        """Only a single shape has a size and a position of its own."""
        return len(self.things) == 1

    @property
    def is_pair(self) -> bool:
        """Two things that differ, so that each has to be named."""
        return len(set(self.things)) == 2


@dataclass(frozen=True)
class Landscape:
    """Ground under a sky, with at most one kind of subject on it."""

    seed: int
    time: str
    ground: str
    subject: str = "none"
    subject_color: str = "red"
    side: str = "center"
    has_body: bool = False  # the sun, or the moon at night
    has_stars: bool = False
    has_clouds: bool = False


Scene = ShapeScene | Landscape


def is_held_out(scene: Scene) -> bool:
    """Return whether this combination is kept for the evaluation.

    Single shapes are held out by (shape, color, background), landscapes with a subject by
    (time, ground, subject, subject color). The rule is a checksum, so every process agrees.
    """
    if isinstance(scene, ShapeScene):
        thing = scene.things[0]
        key = f"{thing.shape}|{thing.color}|{scene.background}"
        return scene.is_single and zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0
    key = f"{scene.time}|{scene.ground}|{scene.subject}|{scene.subject_color}"
    return scene.subject != "none" and zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0


def _shape(rng: random.Random) -> str:
    return rng.choices(SHAPES, SHAPE_SHARES)[0]


def sample_shapes(rng: random.Random) -> ShapeScene:
    """Return a random scene of one to three shapes; single ones are the most common."""
    background = rng.choice(list(COLORS))
    others = [color for color in COLORS if color != background]
    thing = Thing(_shape(rng), rng.choice(others))
    seed = rng.randrange(1 << 30)
    roll = rng.random()
    if roll < 0.7:
        position = "center" if rng.random() < 0.4 else rng.choice(POSITIONS)
        return ShapeScene(seed, background, (thing,), rng.choice(SIZES), position)
    if roll < 0.8:
        return ShapeScene(seed, background, (thing,) * 2)
    if roll < 0.88:
        return ShapeScene(seed, background, (thing,) * 3)
    other = Thing(_shape(rng), rng.choice(others))
    return ShapeScene(seed, background, (thing, other))


def sample_landscape(rng: random.Random) -> Landscape:
    """Return a random landscape in which sun, moon, stars and clouds fit the time of day."""
    seed = rng.randrange(1 << 30)
    time, ground = rng.choice(TIMES), rng.choice(GROUNDS)
    is_night = time == "night"
    roll = rng.random()
    if ground == "sea":
        subject = "boat" if roll < 0.55 else "none"
    else:
        subject = "house" if roll < 0.4 else "tree" if roll < 0.58 else "trees"
        subject = "none" if roll >= 0.74 else subject
    return Landscape(
        seed=seed,
        time=time,
        ground=ground,
        subject=subject,
        subject_color=rng.choice(SUBJECT_COLORS),
        side=rng.choice(SIDES) if subject in SIDED_SUBJECTS else "center",
        has_body=time != "cloudy" and rng.random() < 0.55,
        has_stars=is_night and rng.random() < 0.5,
        has_clouds=time == "cloudy" or (time == "day" and rng.random() < 0.4),
    )


def sample_scene(rng: random.Random, landscape_share: float = 0.5) -> Scene:
    """Return a random scene that is not held out."""
    while True:
        is_landscape = rng.random() < landscape_share
        scene = sample_landscape(rng) if is_landscape else sample_shapes(rng)
        if not is_held_out(scene):
            return scene
