"""Options that leave out a part of each step: token merging, Hypertile and DeepCache."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.hypertile import TileOptions, largest_tile, tile_counts, tile_unet
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.denoise.token_merging import choose_tokens, merge_tokens

LATENTS = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
TEXT = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
    )
    return network.requires_grad_(False).eval()


def run(unet: UNet2DConditionModel, latents: Tensor = LATENTS) -> Tensor:
    return unet(latents, torch.tensor(500.0), TEXT[: len(latents)], return_dict=False)[0]


# Token merging


def test_of_each_square_of_tokens_the_first_is_never_merged():
    tokens = torch.randn(1, 48, 8, generator=torch.Generator().manual_seed(3))
    merge = choose_tokens(tokens, 6, 8, 0.5)
    assert merge is not None
    assert merge.targets.tolist() == [0, 2, 4, 6, 16, 18, 20, 22, 32, 34, 36, 38]
    assert merge.merge(tokens).shape == (1, 24, 8)
    assert not set(merge.merged.flatten().tolist()) & set(merge.targets.tolist())


def test_tokens_that_are_alike_survive_merging():
    corners = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(4))
    squares = corners.reshape(2, 2, 2, 8)
    tokens = squares.repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(2, 16, 8)
    merge = choose_tokens(tokens, 4, 4, 0.75)
    assert merge is not None
    assert merge.merge(tokens).shape == (2, 4, 8)
    assert torch.allclose(merge.unmerge(merge.merge(tokens)), tokens, atol=1e-6)


def test_nothing_is_merged_by_a_ratio_of_0():
    assert choose_tokens(torch.ones(1, 16, 8), 4, 4, 0.0) is None


# Hypertile


@pytest.mark.parametrize(
    ("side", "smallest", "swap_size", "counts"),
    [(32, 16, 3, [2, 1]), (64, 16, 3, [4, 2, 1]), (64, 16, 1, [4]), (16, 64, 3, [1]), (17, 4, 3, [1])],
)  # fmt: skip
def test_a_side_is_cut_into_equal_tiles(
    side: int, smallest: int, swap_size: int, counts: list[int]
):
    assert tile_counts(side, smallest, swap_size) == counts


def test_a_tile_is_a_power_of_2_that_divides_both_sides():
    assert [largest_tile(*size) for size in ((512, 768), (320, 448), (520, 512))] == [256, 64, 8]


def test_with_tiles_a_place_does_not_see_what_is_far_away(unet: UNet2DConditionModel):
    large = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(5))
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    seen: list[tuple[int, ...]] = []
    with tile_unet(unet, (256, 256), TileOptions(128, 1, 0), random.Random(0)):
        handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        tiled = run(unet, large)
    handle.remove()
    assert seen == [(4, 16 * 16, 32)]
    assert tiled.shape == large.shape
    assert not torch.equal(tiled, run(unet, large))


def test_tokens_are_merged_and_cut_into_tiles_at_once(unet: UNet2DConditionModel):
    large = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    tiles = tile_unet(unet, (256, 256), TileOptions(128, 1), random.Random(0))
    with merge_tokens(unet, 0.5), tiles:
        both = run(unet, large)
    assert both.shape == large.shape
    assert float((both - run(unet, large)).abs().max()) < 0.3 * float(both.abs().max())


# DeepCache


@contextmanager
def counted(unet: UNet2DConditionModel) -> Iterator[list[int]]:
    calls: list[int] = []
    assert unet.mid_block is not None
    handle = unet.mid_block.register_forward_pre_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()


def steps_with(unet: UNet2DConditionModel, cache: DeepCache, count: int) -> list[Tensor]:
    results: list[Tensor] = []
    with remember_deep_layers(unet, cache):
        for index in range(count):
            latents = LATENTS * (1 - 0.01 * index)
            cache.unet_call(UNetCall(latents, torch.tensor(500.0), TEXT, index))
            results.append(run(unet, latents))
    return results


def test_deep_layers_run_in_every_nth_evaluation(unet: UNet2DConditionModel):
    with counted(unet) as calls:
        results = steps_with(unet, DeepCache(3), 5)
    assert len(calls) == 2
    exact = [run(unet, LATENTS * (1 - 0.01 * index)) for index in range(5)]
    are_exact = [torch.equal(*pair) for pair in zip(results, exact, strict=True)]
    assert are_exact == [True, False, False, True, False]
    assert float((results[2] - exact[2]).abs().max()) < 0.1 * float(exact[2].abs().max())


def test_a_call_of_another_size_is_computed_whole(unet: UNet2DConditionModel):
    cache = DeepCache(3)
    with counted(unet) as calls, remember_deep_layers(unet, cache):
        for index, rows in enumerate((2, 1)):
            cache.unet_call(UNetCall(LATENTS[:rows], torch.tensor(500.0), TEXT[:rows], index))
            result = run(unet, LATENTS[:rows])
    assert len(calls) == 2
    assert torch.equal(result, run(unet, LATENTS[:1]))


@pytest.mark.parametrize("name", ["merging", "tiles", "cache"])
def test_the_unet_is_as_before_afterwards(unet: UNet2DConditionModel, name: str):
    before, names = run(unet), [name for name, _ in unet.named_parameters()]
    changes: dict[str, AbstractContextManager[None]] = {
        "merging": merge_tokens(unet, 0.5),
        "tiles": tile_unet(unet, (128, 128), TileOptions(64, 3, 3), random.Random(0)),
        "cache": remember_deep_layers(unet, DeepCache(2)),
    }
    with changes[name]:
        run(unet)
    assert torch.equal(run(unet), before)
    assert [name for name, _ in unet.named_parameters()] == names
