"""Other ways to compute attention, on a tiny real UNet."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from modules.backend.denoise import attention
from modules.backend.denoise.attention import (
    DispatchedAttention,
    attend_in_slices,
    dispatch,
    use_attention,
)
from modules.params.attentions import ATTENTIONS, AttentionName, find_attention, list_attentions
from modules.params.settings import Settings
from tests.backend.checkpoints import tiny_modules

SAMPLE = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(1))
TEXT = torch.randn((2, 77, 32), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def unet() -> Any:
    return copy.deepcopy(tiny_modules()[0]).requires_grad_(False)


def call(unet: Any) -> Tensor:
    with torch.inference_mode():
        return unet(SAMPLE, torch.tensor(500.0), encoder_hidden_states=TEXT, return_dict=False)[0]


def layers(unet: Any) -> list[Attention]:
    return [one for one in unet.modules() if isinstance(one, Attention)]


def test_the_dispatcher_computes_what_the_stock_processor_does(unet: Any):
    expected = call(unet)
    processor = DispatchedAttention(dispatch(AttentionBackendName.NATIVE))
    for layer in layers(unet):
        layer.processor = processor
    assert torch.equal(call(unet), expected)


def test_a_layer_with_wider_heads_keeps_the_stock_processor(unet: Any):
    expected = call(unet)
    # On this machine the named package is not there, so that a call of it would fail.
    processor = DispatchedAttention(dispatch(AttentionBackendName.FLASH), widest_head=1)
    for layer in layers(unet):
        layer.processor = processor
    assert torch.equal(call(unet), expected)


@pytest.mark.parametrize("name", ["sdp-no-mem", "math"])
def test_pytorchs_kernels_agree_and_are_restored(unet: Any, name: str):
    expected = call(unet)
    with torch.profiler.profile() as profile, use_attention(unet, name):
        torch.testing.assert_close(call(unet), expected, rtol=1e-4, atol=1e-5)
    called = {event.key for event in profile.key_averages()}
    kernel = "flash" if name == "sdp-no-mem" else "math"
    assert any("scaled_dot_product" in one and kernel in one for one in called)
    assert torch.equal(call(unet), expected)


def test_invokeais_formula_agrees_and_the_stock_processor_comes_back(unet: Any):
    expected = call(unet)
    with torch.profiler.profile() as profile, use_attention(unet, "InvokeAI"):
        torch.testing.assert_close(call(unet), expected, rtol=1e-4, atol=1e-5)
    called = {event.key for event in profile.key_averages()}
    assert "aten::bmm" in called
    assert not any("scaled_dot_product" in one for one in called)
    assert torch.equal(call(unet), expected)


def test_heads_computed_one_by_one_give_the_same():
    query, key, value = torch.randn((3, 2, 9, 4, 8), generator=torch.Generator().manual_seed(3))
    at_once = attend_in_slices(query, key, value)
    torch.testing.assert_close(attend_in_slices(query, key, value, largest=1), at_once)
    stock = torch.nn.functional.scaled_dot_product_attention(
        *(one.transpose(1, 2) for one in (query, key, value))
    )
    torch.testing.assert_close(at_once, stock.transpose(1, 2))


def test_automatic_changes_nothing(unet: Any):
    with use_attention(unet, "Automatic"):
        assert all(type(layer.processor) is AttnProcessor2_0 for layer in layers(unet))


def test_a_processor_of_somebody_else_is_kept_and_the_stock_ones_come_back(unet: Any):
    first, *others = layers(unet)
    first.processor = own = DispatchedAttention(dispatch(AttentionBackendName.NATIVE))
    row = replace(find_attention("Sage Attention"), package="", device_kinds=(), is_half_only=False)
    with use_attention(unet, row.name, [row]):
        assert first.processor is own
        assert {one.processor.formula.keywords["backend"] for one in others} == {
            AttentionBackendName.SAGE
        }
    assert first.processor is own
    assert all(type(layer.processor) is AttnProcessor2_0 for layer in others)


@pytest.mark.parametrize("row", ATTENTIONS[5:], ids=lambda row: row.name)
def test_what_is_not_there_is_told(unet: Any, row: Any):
    if row.name in list_attentions():
        pytest.skip(f"{row.package} is installed")
    assert attention.find_obstacle(unet, row.name) == f"the package {row.package} is not installed"
    with use_attention(unet, row.name):
        assert all(type(layer.processor) is AttnProcessor2_0 for layer in layers(unet))


def test_what_needs_16_bits_or_another_device_is_told():
    flash = replace(find_attention("Flash Attention"), package="")
    assert "cpu" in flash.find_obstacle("cpu", is_half=True)
    assert "32" in flash.find_obstacle("cuda", is_half=False)
    assert flash.find_obstacle("cuda", is_half=True) == ""


def test_every_name_is_a_row_and_those_of_a1111_are_read():
    assert [row.name for row in ATTENTIONS] == list(AttentionName.__args__)
    assert list_attentions()[:5] == ["Automatic", "sdp-no-mem", "cuDNN", "math", "InvokeAI"]
    settings = Settings().replace(cross_attention_optimization="Doggettx")
    assert settings.cross_attention_optimization == "Automatic"
