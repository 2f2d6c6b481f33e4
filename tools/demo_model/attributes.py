"""The facts in a caption, as class numbers: what the text encoder is first taught to know."""

from __future__ import annotations

from tools.demo_model.scenes import (
    COLORS,
    GROUNDS,
    POSITIONS,
    SHAPES,
    SIDED_SUBJECTS,
    SIDES,
    SIZES,
    SUBJECT_COLORS,
    SUBJECTS,
    TIMES,
    Scene,
    ShapeScene,
)

COLOR_NAMES = tuple(COLORS)
ATTRIBUTES = {
    "kind": ("shapes", "landscape"),
    "background": COLOR_NAMES,
    "color": COLOR_NAMES,
    "shape": SHAPES,
    "size": SIZES,
    "position": POSITIONS,
    "count": (1, 2, 3),
    "second_color": COLOR_NAMES,
    "second_shape": SHAPES,
    "is_pair": (False, True),
    "time": TIMES,
    "ground": GROUNDS,
    "subject": SUBJECTS,
    "subject_color": SUBJECT_COLORS,
    "side": SIDES,
    "has_body": (False, True),
    "has_stars": (False, True),
    "has_clouds": (False, True),
}
UNTOLD = -100  # torch's ignore_index: the attribute means nothing in this scene


def attributes_of(scene: Scene) -> dict[str, object]:
    """Return the attributes that mean something in this scene."""
    if isinstance(scene, ShapeScene):
        first = scene.things[0]
        facts = {
            "kind": "shapes",
            "background": scene.background,
            "color": first.color,
            "shape": first.shape,
            "count": len(scene.things),
            "is_pair": scene.is_pair,
        }
        if scene.is_single:
            facts |= {"size": scene.size, "position": scene.position}
        if scene.is_pair:
            facts |= {"second_color": scene.things[1].color, "second_shape": scene.things[1].shape}
        return facts
    facts = {"kind": "landscape", "time": scene.time, "ground": scene.ground}
    facts |= {"subject": scene.subject, "has_body": scene.has_body}
    facts |= {"has_stars": scene.has_stars, "has_clouds": scene.has_clouds}
    if scene.subject in ("house", "boat"):
        facts["subject_color"] = scene.subject_color
    if scene.subject in SIDED_SUBJECTS:
        facts["side"] = scene.side
    return facts


def class_numbers(scene: Scene) -> list[int]:
    """Return one class number per attribute, `UNTOLD` where it means nothing."""
    facts = attributes_of(scene)
    return [
        classes.index(facts[name]) if name in facts else UNTOLD
        for name, classes in ATTRIBUTES.items()
    ]
