"""The original LDM's networks at full size: they load every key of the files that tools/full_size.py writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.backend.loading.loader import load_components
from tests.full_size.test_full_size import FAMILIES
from tests.models.model_files import CONFIGS
from tests.reference.compare import FULL, TRUE_SIZE_CLOSE, Autoencoder, agree
from tools import full_size


class Outputs(NamedTuple):
    """Outputs of a UNet and a VAE."""

    prediction: Tensor
    moments: Tensor
    decoded: Tensor


@pytest.mark.slow
@pytest.mark.timeout(900)
@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_true_size_agrees_with_the_original_ldm(
    tmp_path: Path, original: Callable[[str], Any], family: str
):
    config = CONFIGS / FAMILIES[family]
    params = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["params"]
    generator = torch.Generator().manual_seed(1)
    sizes = params["unet_config"]["params"]
    x = torch.randn(1, sizes["in_channels"], 16, 8, generator=generator)
    cond = torch.randn(1, 77, sizes["context_dim"], generator=generator)
    pixels = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1

    path = full_size.write(family, tmp_path / f"{family}.safetensors")
    theirs = their_outputs(original, params, load_file(path), (x, cond, pixels))
    components = load_components(path, config, FULL)
    path.unlink()
    ours = Outputs(
        components.unet(x, torch.tensor([500]), cond).sample,
        components.vae.encode(pixels).latent_dist.parameters,
        components.vae.decode(x[:, :4]).sample,
    )
    for output, expected in zip(ours, theirs, strict=True):
        agree(output, expected, TRUE_SIZE_CLOSE)


def their_outputs(
    original: Callable[[str], Any],
    params: dict[str, Any],
    weights: dict[str, Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
) -> Outputs:
    """Return the original's outputs; its networks are freed before ours are loaded, since both need gigabytes."""
    x, cond, pixels = inputs
    with torch.device("meta"):
        unet = original("ldm.modules.diffusionmodules.openaimodel").UNetModel(
            **params["unet_config"]["params"]
        )
        vae_params = params["first_stage_config"]["params"]
        model = original("ldm.modules.diffusionmodules.model")
        vae = Autoencoder(model, vae_params["ddconfig"], vae_params["embed_dim"])
    load_weights(unet, weights, "model.diffusion_model.")
    load_weights(vae, weights, "first_stage_model.")
    return Outputs(
        unet(x, torch.tensor([500]), context=cond),
        vae.quant_conv(vae.encoder(pixels)),
        vae.decoder(vae.post_quant_conv(x[:, :4])),
    )


def load_weights(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    """Load the tensors with a prefix into a network; none may be missing or left over."""
    state_dict = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    module.load_state_dict(state_dict, strict=True, assign=True)
    module.float().eval()
