"""T2I-Adapters within tiny UNets, against diffusers' own arguments."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from modules.backend.control.adapters.t2i_adapter import (
    T2IAdapterExtension,
    compute_features,
    weigh,
)
from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.step_extensions import UNetCall
from tests.backend.control.adapter_files import (
    CONTEXT,
    random,
    t2i_adapter,
    tiny_sdxl_unet,
    tiny_unet,
)

TEXT = random(4, 7, CONTEXT, seed=2) * 8
KWARGS = {"added_cond_kwargs": {"text_embeds": random(4, 24, seed=3), "time_ids": torch.ones(4, 6)}}
KEY = "down_intrablock_additional_residuals"


def setup(is_sdxl: bool) -> tuple[UNet2DConditionModel, str]:
    unet = tiny_sdxl_unet() if is_sdxl else tiny_unet()
    return unet, "full_adapter_xl" if is_sdxl else "full_adapter"


def run(
    unet: UNet2DConditionModel, sample: Tensor, *extensions: T2IAdapterExtension, index: int = 0
) -> Tensor:
    kwargs = KWARGS if unet.config["addition_embed_type"] else {}
    call = UNetCall(sample, torch.tensor(500.0), TEXT, index, kwargs, (True, False))
    for one in extensions:
        call = one.unet_call(call)
    return unet(
        call.sample, call.timestep, encoder_hidden_states=TEXT, return_dict=False, **call.kwargs
    )[0]


@pytest.mark.parametrize("cells", [(8, 12), (9, 13)])
@pytest.mark.parametrize("is_sdxl", [False, True])
def test_features_are_added_as_diffusers_adds_them(is_sdxl: bool, cells: tuple[int, int]) -> None:
    unet, adapter_type = setup(is_sdxl)
    adapter = t2i_adapter(adapter_type, (16, 32, 48, 48))
    sample = random(4, 4, *cells, seed=1) * 8
    hint = random(1, 3, 8 * cells[0], 8 * cells[1], seed=6).abs()
    features = compute_features(adapter, hint, cells)
    weights = (0.5, 1.0, 0.25, 2.0)
    one = T2IAdapterExtension(
        weigh(features, weights, None), lambda index: index < 2, is_cond_only=False
    )

    ours = run(unet, sample, one)

    kwargs = KWARGS if is_sdxl else {}
    if cells == (8, 12):  # diffusers wants such sizes
        weighed = [w * f.repeat(4, 1, 1, 1) for w, f in zip(weights, adapter(hint), strict=True)]
        expected = unet(
            sample,
            torch.tensor(500.0),
            encoder_hidden_states=TEXT,
            return_dict=False,
            **kwargs,
            **{KEY: weighed},
        )[0]
        assert_close(ours, expected, rtol=0, atol=1e-5)
    plain = run(unet, sample)
    assert float((ours - plain).abs().max()) > 1e-3
    assert_close(run(unet, sample, one, index=2), plain, rtol=0, atol=0)
    # Two units add up, and a call leaves the features as they were.
    assert_close(run(unet, sample, one), ours, rtol=0, atol=0)
    halves = [
        T2IAdapterExtension(
            weigh(features, [w / 2 for w in weights], None), lambda _: True, is_cond_only=False
        )
        for _ in range(2)
    ]
    assert_close(run(unet, sample, *halves), ours, rtol=0, atol=1e-4)


def test_where_the_prompt_alone_counts_the_negative_one_is_as_without_it() -> None:
    unet, adapter_type = setup(is_sdxl=False)
    features = compute_features(
        t2i_adapter(adapter_type, (16, 32, 48, 48)), random(1, 3, 64, 64).abs(), (8, 8)
    )
    sample = random(4, 4, 8, 8, seed=1) * 8
    both, one = (
        run(unet, sample, T2IAdapterExtension(features, lambda _: True, is_cond_only=only))
        for only in (False, True)
    )
    assert_close(one[:2], run(unet, sample)[:2], rtol=0, atol=1e-6)
    assert_close(one[2:], both[2:], rtol=0, atol=1e-6)


def test_a_black_region_leaves_all_as_it_is_with_deep_cache_too() -> None:
    unet, adapter_type = setup(is_sdxl=False)
    features = compute_features(
        t2i_adapter(adapter_type, (16, 32, 48, 48)), random(1, 3, 64, 64).abs(), (8, 8)
    )
    sample = random(4, 4, 8, 8, seed=1) * 8
    nothing = weigh(features, (1,) * 4, torch.zeros(1, 1, 64, 64))
    one = T2IAdapterExtension(nothing, lambda _: True, is_cond_only=False)
    cache = DeepCache(2)
    with remember_deep_layers(unet, cache):
        cache.unet_call(UNetCall(sample, torch.tensor(500.0), TEXT, 0))
        first = run(unet, sample, one)
        cache.unet_call(UNetCall(sample, torch.tensor(500.0), TEXT, 1))
        second = run(unet, sample, one, index=1)
    assert_close(first, run(unet, sample), rtol=0, atol=1e-6)
    assert_close(second, first, rtol=0, atol=1e-5)
