"""The original LDM's networks at their true sizes: they take the files that tools/full_size.py writes, name by name."""

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


class Answers(NamedTuple):
    """What a UNet and a VAE make of the same inputs."""

    prediction: Tensor
    moments: Tensor
    picture: Tensor


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
    words = torch.randn(1, 77, sizes["context_dim"], generator=generator)
    picture = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1

    path = full_size.write(family, tmp_path / f"{family}.safetensors")
    theirs = their_answers(original, params, load_file(path), (x, words, picture))
    components = load_components(path, config, FULL)
    path.unlink()
    ours = Answers(
        components.unet(x, torch.tensor([500]), words).sample,
        components.vae.encode(picture).latent_dist.parameters,
        components.vae.decode(x[:, :4]).sample,
    )
    for mine, yours in zip(ours, theirs, strict=True):
        agree(mine, yours, TRUE_SIZE_CLOSE)


def their_answers(
    original: Callable[[str], Any],
    params: dict[str, Any],
    weights: dict[str, Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],
) -> Answers:
    """Return the original's answers; its networks are gone before ours come, for both need gigabytes."""
    x, words, picture = inputs
    with torch.device("meta"):
        unet = original("ldm.modules.diffusionmodules.openaimodel").UNetModel(
            **params["unet_config"]["params"]
        )
        vae_params = params["first_stage_config"]["params"]
        model = original("ldm.modules.diffusionmodules.model")
        vae = Autoencoder(model, vae_params["ddconfig"], vae_params["embed_dim"])
    filled(unet, weights, "model.diffusion_model.")
    filled(vae, weights, "first_stage_model.")
    return Answers(
        unet(x, torch.tensor([500]), context=words),
        vae.quant_conv(vae.encoder(picture)),
        vae.decoder(vae.post_quant_conv(x[:, :4])),
    )


def filled(module: nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    """Fill a network with the tensors under a prefix; none may be missing or left over."""
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    module.load_state_dict(own, strict=True, assign=True)
    module.float().eval()
