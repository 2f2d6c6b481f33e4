from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from modules.backend.components import Components, Precision
from modules.backend.conditioning.depth import estimate
from modules.backend.loading.loader import load_components
from modules.backend.vae import decode, encode, image_to_pixels
from tests.backend.checkpoints_depth import write_depth

FULL = Precision(torch.float32, torch.float32, torch.float32)


@pytest.fixture(scope="module")
def depth_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = write_depth(tmp_path_factory.mktemp("models") / "tiny.safetensors")
    return load_components(path, path.with_suffix(".yaml"), FULL)


def random_tensor(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


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
