"""Writes a scene down in English: synonyms, several word orders, ordinary prompt decoration.

What a caption leaves out is the default (center, medium, white background, daylight), so that a
short prompt has one answer and the picture stays sharp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.demo_model.scenes import SIDED_SUBJECTS, Landscape, Scene, ShapeScene

if TYPE_CHECKING:
    import random

COLOR_WORDS = {
    "red": ("red", "red", "red", "crimson", "scarlet"),
    "purple": ("purple", "purple", "violet"),
    "gray": ("gray", "grey"),
    "cyan": ("cyan", "cyan", "turquoise", "light blue"),
    "yellow": ("yellow", "yellow", "golden"),
}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "ball", "disc"),
    "square": ("square", "square", "box"),
    "diamond": ("diamond", "diamond", "rhombus"),
}
SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("", "", "", "medium"),
    "large": ("large", "big", "big", "huge"),
}
POSITION_WORDS = {
    "center": ("", "", "in the center", "in the middle"),
    "left": ("on the left", "on the left side", "at the left", "left"),
    "right": ("on the right", "on the right side", "at the right", "right"),
    "top": ("at the top", "in the upper part", "top"),
    "bottom": ("at the bottom", "in the lower part", "bottom"),
}
TIME_PHRASES = {
    "day": ("on a sunny day", "under a blue sky", "during the day", "with a blue sky", "", ""),
    "sunset": ("at sunset", "at sunset", "at dusk", "under an orange sky", "in the evening"),
    "night": ("at night", "at night", "under a night sky", "under a dark sky", "at midnight"),
    "sunrise": ("at sunrise", "at dawn", "under a pink sky", "in the early morning"),
    "cloudy": ("under a cloudy sky", "on a cloudy day", "under a gray sky", "with a cloudy sky"),
}
TIME_TAGS = {
    "day": ("blue sky", "day", "sunny", "daylight", ""),
    "sunset": ("sunset", "orange sky", "dusk", "evening"),
    "night": ("night", "night sky", "dark sky"),
    "sunrise": ("sunrise", "dawn", "pink sky", "morning"),
    "cloudy": ("cloudy sky", "cloudy", "gray sky", "overcast"),
}
GROUND_WORDS = {
    "mountains": ("mountains", "mountains", "a mountain landscape", "a mountain range"),
    "hills": ("hills", "hills", "green hills", "rolling hills"),
    "sea": ("the sea", "the sea", "the ocean", "a calm sea"),
    "desert": ("a desert", "the desert", "sand dunes"),
    "snow": ("a snowy field", "snow", "the snow", "a winter landscape", "a snowy landscape"),
    "meadow": ("a meadow", "a green field", "a field", "grass"),
}
GROUND_PREPOSITIONS = {
    "mountains": ("in front of", "in"),
    "hills": ("on", "in"),
    "sea": ("on", "on", "at"),
    "desert": ("in",),
    "snow": ("in", "on"),
    "meadow": ("in", "on"),
}
SIDE_WORDS = {
    "left": ("on the left",),
    "right": ("on the right",),
    "center": ("in the center", "in the middle"),
}
OPENINGS = (
    *("a picture of", "a drawing of", "an illustration of", "a painting of", "an image of"),
    *("a photo of", "photo of", "a simple drawing of", "a beautiful picture of"),
)
QUALITIES = (
    *("masterpiece", "best quality", "high quality", "detailed", "beautiful", "colorful"),
    *("simple", "flat design", "minimal", "clean", "illustration", "highly detailed", "4k"),
)


def with_article(words: str) -> str:
    """Return the words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


def _color(name: str, rng: random.Random) -> str:
    return rng.choice(COLOR_WORDS.get(name, (name,)))


def _shape(name: str, rng: random.Random) -> str:
    return rng.choice(SHAPE_WORDS.get(name, (name,)))


def _plural(noun: str) -> str:
    return noun + ("es" if noun == "box" else "s")


def _things(scene: ShapeScene, rng: random.Random) -> str:
    """Return the noun phrase for the shapes: "a small red star", "two red stars"."""
    thing = scene.things[0]
    color, noun = _color(thing.color, rng), _shape(thing.shape, rng)
    if scene.is_single:
        words = _join(rng.choice(SIZE_WORDS[scene.size]), color, noun)
        return with_article(words) if rng.random() < 0.8 else words
    if not scene.is_pair:
        count = {2: "two", 3: "three"}[len(scene.things)]
        digits = rng.random() < 0.15
        return f"{len(scene.things) if digits else count} {color} {_plural(noun)}"
    other = scene.things[1]
    link = rng.choice(("and", "and", "and", "next to", "to the left of", "beside"))
    second = with_article(_join(_color(other.color, rng), _shape(other.shape, rng)))
    return f"{with_article(_join(color, noun))} {link} {second}"


def caption_shapes(scene: ShapeScene, rng: random.Random) -> str:
    """Return a caption of a shape scene, without decoration."""
    things = _things(scene, rng)
    place = rng.choice(POSITION_WORDS[scene.position]) if scene.is_single else ""
    color = _color(scene.background, rng)
    if scene.background == "white" and rng.random() < 0.4:
        return _join(things, place)
    style = rng.random()
    if style < 0.2:
        tags = [things, f"{color} background", place]
        rng.shuffle(tags)
        return ", ".join(tag for tag in tags if tag)
    if style < 0.32:
        return _join(with_article(f"{color} background"), "with", things, place)
    ground = rng.choice(
        (
            *(f"on a {color} background",) * 4,
            f"on {color}",
            f"in front of a {color} background",
            f"against a {color} backdrop",
        )
    )
    return _join(things, place, ground) if style < 0.85 else _join(things, ground, place)


def _subject(scene: Landscape, rng: random.Random) -> str:
    color = _color(scene.subject_color, rng)
    house = (f"a house with {with_article(color)} roof",) * 3 + (
        f"{with_article(color)}-roofed house",
    )
    words = {
        "none": ("",),
        "house": house,
        "tree": ("a tree", "a tree", "a green tree", "one tree"),
        "trees": ("trees", "trees", "a few trees", "three trees"),
        "boat": (
            with_article(f"{color} boat"),
            with_article(f"{color} boat"),
            with_article(f"{color} sailboat"),
        ),
    }[scene.subject]
    return rng.choice(words)


def _side(scene: Landscape, rng: random.Random) -> str:
    """Return the position of the subject; the center is the default and often left out."""
    words = rng.choice(SIDE_WORDS[scene.side])
    return words if scene.side != "center" or rng.random() < 0.25 else ""


def _sky_extras(scene: Landscape, rng: random.Random) -> list[str]:
    extras = []
    if scene.has_body:
        night = scene.time == "night"
        extras.append(
            rng.choice(("the moon", "a moon", "a full moon") if night else ("the sun", "a sun"))
        )
    if scene.has_stars:
        extras.append(rng.choice(("stars", "stars", "many stars")))
    if scene.has_clouds and (scene.time == "day" or rng.random() < 0.3):
        extras.append(
            rng.choice(("clouds", "white clouds") if scene.time == "day" else ("clouds",))
        )
    rng.shuffle(extras)
    return extras


def caption_landscape(scene: Landscape, rng: random.Random) -> str:
    """Return a caption of a landscape, without decoration."""
    ground = rng.choice(GROUND_WORDS[scene.ground])
    subject, extras = _subject(scene, rng), _sky_extras(scene, rng)
    placed = _join(subject, _side(scene, rng) if scene.subject in SIDED_SUBJECTS else "")
    if rng.random() < 0.2:
        tags = [placed, ground.removeprefix("a ").removeprefix("the "), *extras]
        tags.append(rng.choice(TIME_TAGS[scene.time]))
        rng.shuffle(tags)
        return ", ".join(tag for tag in tags if tag)
    style = rng.random()
    if not subject:
        base = ground
    elif style < 0.75:
        base = _join(placed, rng.choice(GROUND_PREPOSITIONS[scene.ground]), ground)
    else:
        base = _join(ground, "with", placed)
    if style > 0.9 and not subject:
        tag = next(tag for tag in (rng.choice(TIME_TAGS[scene.time]), scene.time) if tag)
        text = _join(tag, "over", ground)
    elif rng.random() < 0.2:
        text = ", ".join(part for part in (base, rng.choice(TIME_TAGS[scene.time])) if part)
    else:
        text = _join(base, rng.choice(TIME_PHRASES[scene.time]))
    if extras:
        text += rng.choice((" with ", ", ", " and ")) + " and ".join(extras)
    return text


def decorate(text: str, rng: random.Random) -> str:
    """Return the caption inside ordinary prompt text: "masterpiece, a photo of ..."."""
    if rng.random() < 0.25:
        text = f"{rng.choice(OPENINGS)} {text}"
    if rng.random() < 0.15:
        text = ", ".join((*rng.sample(QUALITIES, rng.choice((1, 1, 2))), text))
    if rng.random() < 0.2:
        text = ", ".join((text, *rng.sample(QUALITIES, rng.choice((1, 1, 2, 3)))))
    return text


def caption(scene: Scene, rng: random.Random) -> str:
    """Return a new random caption of the scene."""
    plain = caption_shapes if isinstance(scene, ShapeScene) else caption_landscape
    return decorate(plain(scene, rng), rng)
