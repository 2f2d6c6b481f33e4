from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from modules.backend.guidance import GuidedUNet
from tests.backend.checkpoints import tiny_modules
from tests.backend.tiny import Counting, conditioning

COND, UNCOND = conditioning(1), conditioning(2)
X = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(3))
T = torch.tensor(500.0)


@pytest.fixture(scope="module")
def unet():
    return tiny_modules()[0]


def ask(network, x: Tensor, cond: Tensor) -> Tensor:
    return network(x, T, encoder_hidden_states=cond.expand(len(x), -1, -1), return_dict=False)[0]


@torch.inference_mode()
def test_guidance_equals_the_stock_pipelines_bit_for_bit(unet):
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    stock = unet(torch.cat([X, X]), T, encoder_hidden_states=both, return_dict=False)[0]
    without, with_prompt = stock.chunk(2)
    expected = without + 7.5 * (with_prompt - without)
    assert torch.equal(GuidedUNet(unet, COND, UNCOND, 7.5)(X, T)[0], expected)


@torch.inference_mode()
def test_prompts_of_different_length_are_asked_one_after_the_other(unet):
    long = conditioning(4, tokens=154)
    counting = Counting(unet)
    guided = GuidedUNet(counting, long, UNCOND, 7.5)(X, T)[0]
    without, with_prompt = ask(unet, X, UNCOND), ask(unet, X, long)
    assert torch.equal(guided, without + 7.5 * (with_prompt - without))
    assert counting.batches == [2, 2]


@torch.inference_mode()
def test_both_prompts_are_asked_in_one_call(unet):
    counting = Counting(unet)
    GuidedUNet(counting, COND, UNCOND, 7.5)(X, T)
    assert counting.batches == [4]


@torch.inference_mode()
def test_a_scale_of_one_asks_for_the_prompt_alone(unet):
    counting = Counting(unet)
    guided = GuidedUNet(counting, COND, UNCOND, 1.0)(X, T)[0]
    assert torch.equal(guided, ask(unet, X, COND))
    assert counting.batches == [2]


@torch.inference_mode()
def test_a_scale_of_zero_is_the_negative_prompt(unet):
    guided = GuidedUNet(unet, COND, UNCOND, 0.0)(X, T)[0]
    assert torch.allclose(guided, ask(unet, X, UNCOND), atol=1e-5)


@torch.inference_mode()
def test_the_prediction_comes_in_the_samples_own_dtype(unet):
    half = copy.deepcopy(tiny_modules()[0]).to(torch.bfloat16)
    guided = GuidedUNet(half, COND.bfloat16(), UNCOND.bfloat16(), 3.0)(X, T)[0]
    assert guided.dtype == torch.float32
    assert guided.shape == X.shape


def test_the_networks_facts_shine_through(unet):
    guided = GuidedUNet(unet, COND, UNCOND, 7.5)
    assert guided.config is unet.config
    assert (guided.dtype, guided.device) == (unet.dtype, unet.device)
