"""The generator: the same seed paints the same scene, and depth is what was painted."""

import random

import numpy as np
import pytest

from tools.demo_model.drawing import SHAPE_DEPTH, draw
from tools.demo_model.scenes import (
    Landscape,
    ShapeScene,
    Thing,
    is_held_out,
    sample_landscape,
    sample_scene,
    sample_shapes,
)

RED_CIRCLE = ShapeScene(5, "blue", (Thing("circle", "red"),))


def test_the_same_seed_gives_the_same_scenes():
    first = [sample_scene(random.Random(3)) for _ in range(5)]
    second = [sample_scene(random.Random(3)) for _ in range(5)]
    assert first == second


@pytest.mark.parametrize("sample", [sample_shapes, sample_landscape])
def test_the_same_scene_gives_the_same_picture(sample):
    scene = sample(random.Random(1))
    first, second = draw(scene, 64, 48), draw(scene, 64, 48)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 96)])
def test_pictures_have_the_asked_size_and_depth_from_far_to_near(seed, size):
    image, depth = draw(sample_scene(random.Random(seed)), *size)
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8
    assert depth.shape == size[::-1]
    assert depth.min() >= 0
    assert depth.max() <= 1


def test_the_shape_is_near_and_its_background_far():
    image, depth = draw(RED_CIRCLE, 64, 64)
    assert depth[32, 32] == pytest.approx(SHAPE_DEPTH, abs=0.01)
    assert depth[2, 2] == 0
    assert image[32, 32, 0] > 150 > image[32, 32, 2]
    assert image[2, 2, 2] > 150 > image[2, 2, 0]


def test_a_house_is_nearer_than_the_mountains_and_the_sky_is_farthest():
    _, depth = draw(Landscape(1, "day", "mountains", "house"), 128, 128)
    assert depth[3, 64] == 0
    assert depth.max() == pytest.approx(0.75, abs=0.01)


def test_training_never_shows_held_out_combinations():
    rng = random.Random(0)
    assert not any(is_held_out(sample_scene(rng)) for _ in range(500))


def test_about_one_single_shape_in_ten_is_held_out():
    rng = random.Random(0)
    scenes = [scene for scene in (sample_shapes(rng) for _ in range(3000)) if scene.is_single]
    assert 0.05 < sum(map(is_held_out, scenes)) / len(scenes) < 0.15
