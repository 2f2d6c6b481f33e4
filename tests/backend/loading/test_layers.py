from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.components import Components, Precision
from modules.backend.conditioning.depth import estimate
from modules.backend.loading.layers import (
    CroppingUpsample2D,
    circular_padding,
    with_cropping_upsamplers,
)
from modules.backend.loading.loader import load_components
from modules.backend.vae import decode, encode, image_to_pixels
from tests.backend.checkpoints import tiny_modules, write_checkpoint
from tests.backend.checkpoints_depth import write_depth
from tests.backend.tiny import random_cond
from tests.tolerance import assert_alike, rounding

FULL = Precision(torch.float32, torch.float32, torch.float32)
# Rows and columns of latents: even, odd on one side or both, and the smallest, of 8 x 72 pixels.
SIZES = [(8, 8), (17, 15), (9, 8), (8, 13), (1, 9), (9, 1), (3, 5)]


@pytest.fixture(scope="module")
def depth_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_depth(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return load_components(path, path.with_suffix(".yaml"), FULL)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_checkpoint(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return load_components(path, path.with_suffix(".yaml"), FULL)


def random_tensor(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def upsampler(seed: int = 0) -> CroppingUpsample2D:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CroppingUpsample2D(6, use_conv=True, out_channels=6).requires_grad_(False)


def doubled(layer: CroppingUpsample2D, x: Tensor, padding: str) -> Tensor:
    """Return what the original's layer does: each value four times, then the convolution."""
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    padded = functional.pad(twice, (1, 1, 1, 1), mode=padding)
    return functional.conv2d(padded, layer.conv.weight, layer.conv.bias)


@pytest.mark.parametrize("padding", ["constant", "circular"])
@pytest.mark.parametrize("size", [(10, 6), (9, 6), (10, 5), (9, 5)])
def test_an_upsampler_doubles_and_convolves_before_it_crops(size: tuple[int, int], padding: str):
    layer, x = upsampler(), random_tensor(2, 6, 5, 3)
    with circular_padding(layer, enabled=padding == "circular"):
        found = layer(x, size)
    expected = doubled(layer, x, padding)[:, :, : size[0], : size[1]]
    assert found.shape[2:] == size
    assert_alike(found, expected, rounding(layer))


def test_an_upsampler_without_a_size_doubles():
    layer, x = upsampler(), random_tensor(2, 6, 5, 3)
    assert_alike(layer(x), doubled(layer, x, "constant"), rounding(layer))


def attends_to_text(block: nn.Module) -> bool:
    return getattr(block, "has_cross_attention", False)


def forward_as_the_original(
    unet: UNet2DConditionModel, x: Tensor, t: Tensor, cond: Tensor
) -> Tensor:
    """Return the answer block by block, each upsampled tensor cropped where it meets the skip connections."""
    emb = unet.time_embedding(unet.time_proj(t))
    h = unet.conv_in(x)
    skips = [h]
    for block in unet.down_blocks:
        attends = {"encoder_hidden_states": cond} if attends_to_text(block) else {}
        h, states = block(h, emb, **attends)
        skips += states
    h = unet.mid_block(h, emb, encoder_hidden_states=cond)
    for block in unet.up_blocks:
        h = h[..., : skips[-1].shape[2], : skips[-1].shape[3]]
        count = len(block.resnets)
        skips, states = skips[:-count], tuple(skips[-count:])
        attends = {"encoder_hidden_states": cond} if attends_to_text(block) else {}
        h = block(h, states, emb, **attends)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))


@torch.inference_mode()
@pytest.mark.parametrize("size", SIZES)
def test_a_unet_computes_every_size_as_the_original(checkpoint: Components, size: tuple[int, int]):
    x, t, cond = random_tensor(2, 4, *size), torch.tensor([500, 20]), random_cond(2).repeat(2, 1, 1)
    found = checkpoint.unet(x, t, cond, return_dict=False)[0]
    expected = forward_as_the_original(tiny_modules()[0], x, t, cond)
    assert found.shape == x.shape
    assert_alike(found, expected, rounding(checkpoint.unet))


def test_the_upsamplers_keep_the_names_of_their_weights():
    stock = tiny_modules()[0]
    changed = with_cropping_upsamplers(copy.deepcopy(stock))
    assert list(changed.state_dict()) == list(stock.state_dict())


def norm_inputs(network: nn.Module) -> list[Tensor]:
    """Return a list that collects what the network's group norms normalise, as they do it."""
    seen: list[Tensor] = []
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


@torch.inference_mode()
def test_every_group_norm_of_a_checkpoint_sees_contiguous_tensors(depth_checkpoint: Components):
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    networks = depth_checkpoint.unet, depth_checkpoint.vae, depth_checkpoint.depth_estimator
    seen = [norm_inputs(network) for network in networks if network is not None]
    channels_last = {"memory_format": torch.channels_last}
    decode(depth_checkpoint.vae, encode(depth_checkpoint.vae, image))
    depth_checkpoint.vae.encode(image_to_pixels(image).contiguous(**channels_last))
    estimate(depth_checkpoint.depth_estimator, image)
    cond = random_tensor(1, 77, depth_checkpoint.unet.config["cross_attention_dim"])
    x = random_tensor(1, 5, 8, 8).contiguous(**channels_last)
    depth_checkpoint.unet(x, torch.tensor([500]), cond)
    assert len(seen) == 3
    assert all(inputs and all(one.is_contiguous() for one in inputs) for inputs in seen)
