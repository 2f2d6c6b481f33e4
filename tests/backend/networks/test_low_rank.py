"""Plain LoRAs are added to a weight all at once: as many products as there are, each with its own rank and scale."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from modules.backend.components import Components
from modules.backend.networks.lora_fold import FoldedLoras
from modules.plan.networks.loras import LoraUse
from tests.backend.networks.loras import CONV, TO_Q, lora_parts, write_lora
from tests.backend.tiny import tiny_components

LAYERS = {
    TO_Q: "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    CONV: "down_blocks.0.resnets.0.conv1",
}


def own_components() -> Components:
    """Return a tiny model whose weights no other test sees."""
    components = tiny_components()
    return replace(components, unet=copy.deepcopy(components.unet))


def layer_of(unet: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    layer = unet.get_submodule(LAYERS[name])
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer


def product(parts: dict[str, Tensor], name: str, rank: int | None = None) -> Tensor:
    """Return what a LoRA adds, in 64 bits."""
    up, down = (parts[f"{name}.lora_{one}.weight"].double() for one in ("up", "down"))
    scale = float(parts[f"{name}.alpha"]) / down.shape[0]
    return scale * torch.einsum("or,r...->o...", up.flatten(1)[:, :rank], down[:rank])


@torch.inference_mode()
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_loras_give_the_sum_of_their_products(tmp_path: Path, name: str, dtype: torch.dtype):
    components = own_components()
    layer = layer_of(components.unet, name).to(dtype)
    weight = layer.weight.clone()
    first, second = lora_parts(name, weight, rank=4), lora_parts(name, weight, rank=6, seed=3)
    uses = [
        replace(write_lora(tmp_path, "a", first), unet=0.5),
        replace(write_lora(tmp_path, "b", second), unet=-2.0, rank=3),
    ]
    assert FoldedLoras(components).fold(uses) == ()
    expected = weight + 0.5 * product(first, name) - 2 * product(second, name, 3)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(layer.weight, expected.to(dtype), rtol=eps, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("rank", [9, 4, 1, 0, -1, -4, -9])
def test_ranks_are_counted_as_by_a1111_from_the_end_where_the_number_is_negative(
    tmp_path: Path, rank: int
):
    components = own_components()
    layer = layer_of(components.unet, TO_Q)
    weight = layer.weight.clone()
    parts = lora_parts(TO_Q, weight, rank=4)
    use = replace(write_lora(tmp_path, "a", parts), rank=rank)
    assert FoldedLoras(components).fold([use]) == ()
    torch.testing.assert_close(layer.weight, (weight + product(parts, TO_Q, rank)).float())


def fold_beside(folder: Path, broken: dict[str, Tensor]) -> tuple[str, ...]:
    """Fold a LoRA beside one that cannot be used, look that it is all that changes, and return the notes."""
    components = own_components()
    layer = layer_of(components.unet, TO_Q)
    weight = layer.weight.clone()
    good = lora_parts(TO_Q, weight)
    uses: list[LoraUse] = [write_lora(folder, "bad", broken), write_lora(folder, "good", good)]
    notes = FoldedLoras(components).fold(uses)
    torch.testing.assert_close(layer.weight, (weight + product(good, TO_Q)).float())
    return notes


@torch.inference_mode()
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_invalid_numbers_of_one_lora_do_not_reach_the_weight(tmp_path: Path, value: float):
    parts = lora_parts(TO_Q, layer_of(tiny_components().unet, TO_Q).weight)
    parts[f"{TO_Q}.lora_up.weight"][0] = value
    (note,) = fold_beside(tmp_path, parts)
    assert f"'bad' cannot be used: {TO_Q} (invalid numbers)" in note


@torch.inference_mode()
def test_one_lora_that_does_not_fit_is_named_and_left_out(tmp_path: Path):
    (note,) = fold_beside(tmp_path, lora_parts(TO_Q, torch.zeros(8, 6)))
    assert f"'bad' cannot be used: {TO_Q} (lora_down.weight [4, 6]" in note


@torch.inference_mode()
def test_kernels_with_their_channels_innermost_change_likewise(tmp_path: Path):
    components = own_components()
    layer = layer_of(components.unet, CONV)
    weight = layer.weight.clone()
    layer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - documented
    assert not layer.weight.is_contiguous()
    parts = lora_parts(CONV, weight)
    FoldedLoras(components).fold([write_lora(tmp_path, "a", parts)])
    torch.testing.assert_close(layer.weight, (weight + product(parts, CONV)).float())


@torch.inference_mode()
def test_a_lora_without_an_effect_leaves_every_bit(tmp_path: Path):
    components = own_components()
    layer = layer_of(components.unet, TO_Q)
    weight = layer.weight.clone()
    use = replace(write_lora(tmp_path, "a", lora_parts(TO_Q, weight)), unet=0.0)
    FoldedLoras(components).fold([use, replace(use, unet=0.0)])
    assert torch.equal(layer.weight, weight)
