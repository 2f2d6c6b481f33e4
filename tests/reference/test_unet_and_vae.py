"""The original LDM's networks of every .yaml in configs/, made narrow, compared with the loaded ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tests.backend.checkpoints import TEXT_SIZES, tiny_weights
from tests.backend.checkpoints_sd2 import HEADS, OpenClipText
from tests.models.model_files import CONFIGS
from tests.reference.compare import (
    Autoencoder,
    agree,
    difference,
    load_original,
    prefixed,
    randomized,
)

WIDTH = 32  # the least that a norm of 32 groups allows
# Those of SDXL describe networks of generative-models: test_sdxl_unet.
NETWORKS = [
    # The networks of v2-inference-v are those of v2-inference.
    pytest.param(file.name, None, marks=[pytest.mark.slow] if "inference-v" in file.name else [])
    for file in sorted(CONFIGS.glob("v[12]*.yaml"))
]
NETWORKS += [pytest.param("v1-inference.yaml", 8)]  # InstructPix2Pix
# Rows and columns that some level cannot halve; the last are those of 8 x 72 pixels.
ODD_SIZES = [(15, 17), (20, 24), (12, 10), (1, 9)]


def narrow_description(file: str, in_channels: int | None = None) -> dict[str, Any]:
    """Return a published .yaml with all its layers but few channels."""
    description = yaml.safe_load((CONFIGS / file).read_text(encoding="utf-8"))
    params = description["model"]["params"]
    unet, text = params["unet_config"]["params"], params["cond_stage_config"]
    unet |= {"model_channels": WIDTH, "context_dim": WIDTH}
    unet |= {"in_channels": in_channels or unet["in_channels"]}
    unet |= {"num_head_channels": WIDTH // 2} if "num_head_channels" in unet else {}
    params["first_stage_config"]["params"]["ddconfig"]["ch"] = WIDTH
    is_open = text["target"].endswith("OpenCLIPEmbedder")
    sizes = {"num_attention_heads": HEADS} if is_open else TEXT_SIZES
    text["params"] = {**text.get("params", {}), "text_config": sizes}
    return description


def text_tensors(file: str) -> dict[str, Tensor]:
    if file.startswith("v2"):
        return prefixed("cond_stage_model.model.", randomized(OpenClipText(WIDTH, HEADS, 3)))
    return {name: value for name, value in tiny_weights().items() if name.startswith("cond_stage")}


@torch.inference_mode()
@pytest.mark.parametrize(("file", "in_channels"), NETWORKS)
def test_unet_and_vae_agree_with_the_original_ldm(
    tmp_path: Path, original: Callable[[str], Any], file: str, in_channels: int | None
):
    description = narrow_description(file, in_channels)
    params = description["model"]["params"]
    sizes, vae_params = params["unet_config"]["params"], params["first_stage_config"]["params"]
    unet = randomized(original("ldm.modules.diffusionmodules.openaimodel").UNetModel(**sizes))
    model = original("ldm.modules.diffusionmodules.model")
    vae = randomized(Autoencoder(model, vae_params["ddconfig"], vae_params["embed_dim"]))
    weights = prefixed("model.diffusion_model.", unet) | prefixed("first_stage_model.", vae)
    components = load_original(tmp_path, weights | text_tensors(file), description)

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, sizes["in_channels"], 16, 8, generator=generator)
    t, cond = torch.tensor([10, 900]), torch.randn(2, 77, WIDTH, generator=generator)
    expected = unet(x, t, context=cond)
    agree(components.unet(x, t, cond).sample, expected)
    # Unless each input has an effect, the comparison does not test it.
    others = (
        unet(-x, t, context=cond),
        unet(x, t.flip(0), context=cond),
        unet(x, t, context=-cond),
    )
    assert min(difference(other, expected) for other in others) > 0.01

    embed = original("ldm.modules.diffusionmodules.util").timestep_embedding
    for size in ODD_SIZES:
        x = torch.randn(2, sizes["in_channels"], *size, generator=generator)
        agree(components.unet(x, t, cond).sample, answer_of_any_size(unet, embed, x, t, cond))

    pixels = torch.rand(1, 3, 32, 64, generator=generator) * 2 - 1
    moments = vae.quant_conv(vae.encoder(pixels))
    agree(components.vae.encode(pixels).latent_dist.parameters, moments)
    assert difference(vae.quant_conv(vae.encoder(-pixels)), moments) > 0.01
    latents = torch.randn(1, 4, 16, 8, generator=generator)
    decoded = vae.decoder(vae.post_quant_conv(latents))
    agree(components.vae.decode(latents).sample, decoded)
    assert difference(vae.decoder(vae.post_quant_conv(-latents)), decoded) > 0.01


def answer_of_any_size(
    unet: Any, embed: Callable[..., Tensor], x: Tensor, t: Tensor, cond: Tensor
) -> Tensor:
    """Return UNetModel.forward, with upsampled tensors cropped to the skip connections, which are one smaller there.

    LDM itself refuses such sizes; A1111 stretches by the nearest value, and from 2n to 2n - 1 that is a crop.
    """
    emb = unet.time_embed(embed(t, unet.model_channels))
    h, skips = x, []
    for block in unet.input_blocks:
        h = block(h, emb, cond)
        skips.append(h)
    h = unet.middle_block(h, emb, cond)
    for block in unet.output_blocks:
        skip = skips.pop()
        h = block(torch.cat([h[..., : skip.shape[2], : skip.shape[3]], skip], dim=1), emb, cond)
    return unet.out(h)
