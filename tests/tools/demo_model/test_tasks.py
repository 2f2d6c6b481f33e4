"""What the special models see beside the noisy latents."""

import random

import pytest
import torch

from tests.tolerance import assert_alike, rounding
from tools.demo_model.architecture import make_unet
from tools.demo_model.tasks import TASKS, depth_channel, inpaint_channels, random_mask, widen
from tools.demo_model.train_unet import Size, learning_rate, loss_weights


@pytest.mark.parametrize("name", list(TASKS))
def test_the_added_channels_fill_the_unet(name):
    task = TASKS[name]
    images, depth = torch.zeros(2, 3, 64, 32), torch.rand(2, 1, 64, 32)
    extra = task.extra(images, depth, random.Random(0))
    count = 0 if extra is None else extra.shape[1]
    assert count == task.in_channels - 4


@pytest.mark.parametrize("seed", range(10))
def test_masks_are_binary_and_never_empty(seed):
    mask = random_mask(64, 48, random.Random(seed))
    assert mask.shape == (1, 48, 64)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert mask.max() == 1


def test_a_masked_picture_tells_nothing_of_what_it_hides():
    masks = torch.zeros(1, 1, 64, 64)
    masks[..., 16:48, 16:48] = 1
    one, other = torch.zeros(2, 1, 3, 64, 64)
    other[..., 20:40, 20:40] = 1
    assert torch.equal(inpaint_channels(one, masks), inpaint_channels(other, masks))


def test_depth_is_stretched_from_far_to_near():
    depth = torch.full((1, 1, 64, 64), 0.3)
    depth[..., 32:, :] = 0.5
    channel = depth_channel(depth)
    assert channel.shape == (1, 1, 8, 8)
    assert channel.min() == -1
    assert channel.max() == 1


def test_a_widened_unet_starts_where_the_narrow_one_ended():
    narrow, wide = make_unet(4).eval(), make_unet(9).eval()
    wide.load_state_dict(widen(narrow.state_dict(), 9))
    generator = torch.Generator().manual_seed(0)
    x, extra = torch.randn(1, 9, 8, 8, generator=generator).split([4, 5], 1)
    t, states = torch.tensor([500]), torch.zeros(1, 77, 32)
    with torch.no_grad():
        expected = narrow(x, t, states).sample
        found = wide(torch.cat([x, extra], 1), t, states).sample
    assert_alike(found, expected, rounding(narrow))


def test_edges_count_more_except_at_the_border():
    x0 = torch.zeros(1, 4, 4, 4)
    x0[:, 3, 1, 1] = x0[:, 3, 3, 1] = 2
    weights = loss_weights(x0, torch.zeros(1, 1, 32, 32), subject=1, outline=2)[0, 0]
    assert weights[1, 1] == 3
    assert weights[3, 1] == 1


def test_sizes_are_read_with_their_shares():
    assert Size.parse("128x64:3,64x64") == [Size(128, 64, 3.0), Size(64, 64, 1.0)]


def test_the_learning_rate_warms_up_and_falls_to_the_end():
    assert learning_rate(0.0, 0, 0.5) < 0.1
    assert learning_rate(0.4, 100, 0.5) == 1
    assert learning_rate(0.75, 100, 0.5) == pytest.approx(0.5)
