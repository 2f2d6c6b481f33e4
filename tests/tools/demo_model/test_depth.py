"""The depth estimator, its errors and its figures."""

import random

import torch

from tools.demo_model.depth_estimator import make_estimator
from tools.demo_model.evaluate_depth import correlation, recolor
from tools.demo_model.ldm_keys import ldm_depth
from tools.demo_model.optimizer import Trainer
from tools.demo_model.scenes import sample_shapes
from tools.demo_model.train_depth import depth_loss, relative_error


def ramp(height=8, width=8):
    return torch.linspace(0, 1, height)[None, None, :, None].expand(1, 1, height, width)


def test_an_untrained_estimator_can_learn_everywhere():
    torch.manual_seed(0)
    model, average = make_estimator(), make_estimator()
    trainer = Trainer(model, average, 0.01, 1e-3, 0.9)
    images = torch.rand(1, 3, 256, 256) * 2 - 1
    depth_loss(model(images).predicted_depth[:, None], torch.zeros(1, 1, 256, 256)).backward()
    assert model.head.head[0].weight.grad.abs().sum() > 0
    before = model.head.head[0].weight.clone()
    trainer.step(1.0)
    assert not torch.equal(model.head.head[0].weight, before)


def test_the_error_does_not_mind_shift_and_scale():
    assert relative_error(3 + 0.5 * ramp(), ramp()).item() < 1e-5


def test_the_error_is_told_in_parts_of_the_range():
    wrong = ramp() + torch.tensor([0.1, -0.1]).repeat(
        4
    )  # from column to column, so no scale mends it
    assert abs(relative_error(wrong, ramp()).item() - 0.1) < 0.01
    assert abs(relative_error(5 * wrong, 5 * ramp()).item() - 0.1) < 0.01


def test_depth_correlates_with_itself_and_against_its_opposite():
    assert abs(correlation(2 * ramp() + 1, ramp()).item() - 1) < 1e-5
    assert abs(correlation(-ramp(), ramp()).item() + 1) < 1e-5


def test_all_weights_get_names_of_the_original_layout():
    state = make_estimator().state_dict()
    named = ldm_depth(state)
    assert all(name.startswith("depth_model.model.") for name in named)
    assert sum(v.numel() for v in named.values()) == sum(v.numel() for v in state.values())


def test_other_colors_leave_the_shape():
    rng = random.Random(0)
    scenes = [scene for scene in (sample_shapes(rng) for _ in range(40)) if scene.is_single]
    for scene, other in zip(scenes, recolor(scenes, rng), strict=True):
        assert other.things[0].shape == scene.things[0].shape
        assert {other.background, other.things[0].color}.isdisjoint(
            {scene.background, scene.things[0].color}
        )
