"""SDXL's UNets, made narrow, compared with LDM's layers put together as generative-models does, which is in no package.

Its UNet is LDM's with deeper transformers in the inner levels and one embedding more, of pooled text and sizes; its text
encoders and its VAE are the networks of test_text_encoders and test_unet_and_vae.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from modules.backend.loading.loader import LoadOptions, load_components
from tests.backend.checkpoints_sdxl import (
    CLIP_G_WIDTH,
    REFINER_UNET,
    SIZE_WIDTH,
    UNET,
    sdxl_description,
    sdxl_weights,
    write_sdxl,
)
from tests.models.model_files import CONFIGS
from tests.reference.compare import FULL, agree, difference, prefixed, randomized

WIDTH = 32  # the least that a norm of 32 groups allows
PREFIX = "model.diffusion_model."


def make_original_unet(original: Callable[[str], Any], sizes: dict[str, Any]) -> Any:
    """Return LDM's UNet with SDXL's depths and SDXL's label embedding, random weights in all of them."""
    depths = dict(zip(sizes["channel_mult"], sizes["transformer_depth"], strict=True))
    ldm_sizes = {
        name: sizes[name]
        for name in (
            *("in_channels", "out_channels", "model_channels", "attention_resolutions"),
            *("num_res_blocks", "channel_mult", "num_head_channels", "context_dim"),
        )
    }
    unet = original("ldm.modules.diffusionmodules.openaimodel").UNetModel(
        **ldm_sizes,
        image_size=32,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        use_checkpoint=False,
        legacy=False,
    )
    attention = original("ldm.modules.attention")
    for module in unet.modules():
        if isinstance(module, attention.SpatialTransformer):
            width, head = module.in_channels, sizes["num_head_channels"]
            depth = depths[width // sizes["model_channels"]]
            module.transformer_blocks = nn.ModuleList(
                attention.BasicTransformerBlock(
                    width, width // head, head, context_dim=sizes["context_dim"], checkpoint=False
                )
                for _ in range(depth)
            )
    embedding = 4 * sizes["model_channels"]
    unet.num_classes = "sequential"
    unet.label_emb = nn.Sequential(
        nn.Sequential(
            nn.Linear(sizes["adm_in_channels"], embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
        )
    )
    return randomized(unet)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("file", "tiny"), [("sd_xl_base.yaml", UNET), ("sd_xl_refiner.yaml", REFINER_UNET)]
)
def test_the_unet_agrees_with_the_original_layers(
    tmp_path: Path, original: Callable[[str], Any], file: str, tiny: Any
):
    description = sdxl_description(tiny)
    published = yaml.safe_load((CONFIGS / file).read_text(encoding="utf-8"))
    sizes = published["model"]["params"]["network_config"]["params"] | {
        "model_channels": WIDTH,
        "num_head_channels": WIDTH // 2,
        "context_dim": tiny.context_dim,
        "adm_in_channels": tiny.adm_in_channels,
    }
    if isinstance(sizes["transformer_depth"], int):
        sizes["transformer_depth"] = [sizes["transformer_depth"]] * len(sizes["channel_mult"])
    description["model"]["params"]["network_config"]["params"] = sizes
    unet = make_original_unet(original, sizes)
    others = {k: v for k, v in sdxl_weights(tiny).items() if not k.startswith(PREFIX)}
    path = write_sdxl(tmp_path / "sdxl.safetensors", weights=others | prefixed(PREFIX, unet))
    config = path.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(description), encoding="utf-8")
    components = load_components(path, config, FULL, LoadOptions())

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 16, 8, generator=generator)
    t, cond = torch.tensor([10, 900]), torch.randn(2, 77, tiny.context_dim, generator=generator)
    pooled = torch.randn(2, CLIP_G_WIDTH, generator=generator)
    numbers = (tiny.adm_in_channels - CLIP_G_WIDTH) // SIZE_WIDTH
    time_ids = torch.randint(0, 1024, (2, numbers), generator=generator)
    embed = original("ldm.modules.diffusionmodules.util").timestep_embedding

    def answer(cond: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
        embedded = embed(time_ids.flatten(), SIZE_WIDTH).reshape(2, -1)
        deepest = max(sizes["transformer_depth"])
        return unet(x, t, [cond] * deepest, torch.cat([pooled, embedded], dim=1))

    expected = answer(cond, pooled, time_ids)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    agree(components.unet(x, t, cond, added_cond_kwargs=added).sample, expected)
    changed = (
        answer(-cond, pooled, time_ids),
        answer(cond, -pooled, time_ids),
        answer(cond, pooled, time_ids.flip(1)),
    )
    assert min(difference(other, expected) for other in changed) > 0.01
