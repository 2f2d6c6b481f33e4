from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modules.backend.loading.layers import circular_padding
from tests.backend.tiny import random_cond, tiny_components
from tests.tolerance import assert_alike, rounding

COMPONENTS = tiny_components()
SAMPLE = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(1))


def predict(sample: Tensor) -> Tensor:
    with torch.inference_mode():
        return COMPONENTS.unet(
            sample, 500, encoder_hidden_states=random_cond(2), return_dict=False
        )[0]


def decode(latents: Tensor) -> Tensor:
    with torch.inference_mode():
        return COMPONENTS.vae.decode(latents, return_dict=False)[0]


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("axis", [2, 3])
def test_a_rolled_sample_gives_the_rolled_prediction(axis: int):
    rolled = SAMPLE.roll(8, axis)
    with circular_padding(COMPONENTS.unet, enabled=True):
        assert_alike(predict(rolled), predict(SAMPLE).roll(8, axis), rounding(COMPONENTS.unet))
    assert difference(predict(rolled), predict(SAMPLE).roll(8, axis)) > 1e-2


def test_rolled_latents_give_the_rolled_image():
    rolled = SAMPLE.roll(8, 3)
    scale = decode(SAMPLE).shape[3] // SAMPLE.shape[3]
    with circular_padding(COMPONENTS.vae, enabled=True):
        expected = decode(SAMPLE).roll(8 * scale, 3)
        assert_alike(decode(rolled), expected, rounding(COMPONENTS.vae.decoder))
    assert difference(decode(rolled), decode(SAMPLE).roll(8 * scale, 3)) > 1e-3


def test_the_networks_are_restored_after_an_error():
    before = predict(SAMPLE)
    with (
        pytest.raises(ZeroDivisionError),
        circular_padding(COMPONENTS.unet, COMPONENTS.vae, enabled=True),
    ):
        _ = 1 / 0
    modes = {
        layer.padding_mode for layer in COMPONENTS.unet.modules() if isinstance(layer, nn.Conv2d)
    }
    assert modes == {"zeros"}
    assert torch.equal(predict(SAMPLE), before)


def test_disabled_padding_changes_nothing():
    with circular_padding(COMPONENTS.unet, enabled=False):
        assert difference(predict(SAMPLE.roll(8, 3)), predict(SAMPLE).roll(8, 3)) > 1e-2
