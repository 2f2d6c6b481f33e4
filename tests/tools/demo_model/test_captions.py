"""Captions tell what the scene shows."""

import random

from tools.demo_model.attributes import ATTRIBUTES, UNTOLD, class_numbers
from tools.demo_model.captions import COLOR_WORDS, SHAPE_WORDS, caption
from tools.demo_model.scenes import Landscape, ShapeScene, Thing
from tools.demo_model.tokens import (
    CONTEXT_LENGTH,
    UNKNOWN,
    CompactVocabulary,
    clip_tokenizer,
)

STAR = ShapeScene(0, "purple", (Thing("star", "yellow"),))


def captions_of(scene, count=50):
    rng = random.Random(1)
    return [caption(scene, rng) for _ in range(count)]


def test_every_caption_of_a_shape_names_shape_color_and_background():
    wanted = [COLOR_WORDS["yellow"], ("star",), COLOR_WORDS["purple"]]
    texts = captions_of(STAR)
    assert all(any(word in text for word in words) for text in texts for words in wanted)


def test_equal_shapes_are_counted():
    texts = captions_of(ShapeScene(0, "red", (Thing("circle", "blue"),) * 3))
    plurals = [word + "s" for word in SHAPE_WORDS["circle"]]
    assert all("three" in text or "3" in text for text in texts)
    assert all(any(word in text for word in plurals) for text in texts)


def test_a_landscape_names_its_subject():
    texts = captions_of(Landscape(0, "night", "sea", "boat", "red"))
    assert all("boat" in text for text in texts)


def test_captions_differ():
    assert len(set(captions_of(STAR))) > 20


def test_class_numbers_leave_out_what_means_nothing():
    facts = dict(zip(ATTRIBUTES, class_numbers(STAR), strict=True))
    assert facts["shape"] == ATTRIBUTES["shape"].index("star")
    assert facts["time"] == UNTOLD


def test_unknown_words_share_one_row_and_known_ones_do_not():
    vocabulary = CompactVocabulary(sorted(clip_tokenizer().encode("red star")))
    ids = vocabulary.batch(["red xylophone star"])
    assert ids.shape == (1, CONTEXT_LENGTH)
    assert (ids[0] == UNKNOWN).any()
    assert sorted(vocabulary.rows("red star")) == [3, 4]
