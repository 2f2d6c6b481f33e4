"""OpenCLIP's own text tower, compared with the loaded text encoder.

OpenAI's CLIP is the same network with another activation (open_clip's model_configs/ViT-L-14-quickgelu.json), so
the tower is the reference for that too; LDM's own CLIP, transformers' CLIPTextModel, is what is being compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.backend.checkpoints import TEXT_SIZES, tiny_description, tiny_weights
from tests.backend.checkpoints_sd2 import CHANGES
from tests.reference.compare import agree, difference, load_original, prefixed, randomized

IDS = torch.tensor([[49406, 320, 2368, 537, 320, 1929, 49407, *[0] * 70]])
OTHER_IDS = torch.tensor([[49406, 320, 2368, 537, 320, 1125, 49407, *[0] * 70]])
SIZES = {"width": 32, "heads": 2, "output_dim": 32}
CLIP = "cond_stage_model.transformer.text_model."
# As transformers' convert_clip_original_pytorch_to_hf.py renames OpenAI's file.
TO_CLIP = (
    (r"^token_embedding\.", "embeddings.token_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_final\.", "final_layer_norm."),
    (r"^transformer\.resblocks\.(\d+)\.ln_(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"encoder.layers.\1.mlp.fc2."),
    (r"^transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"encoder.layers.\1.self_attn.out_proj."),
)
FUSED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")


def run(tower: Any, ids: Tensor, layers: int) -> Tensor:
    """Return the normed output of a layer, as FrozenOpenCLIPEmbedder does for "penultimate" and "last"."""
    x = tower.token_embedding(ids) + tower.positional_embedding
    for block in tower.transformer.resblocks[:layers]:
        x = block(x, attn_mask=tower.attn_mask)
    return tower.ln_final(x)


def unet_and_vae() -> dict[str, Tensor]:
    return {k: v for k, v in tiny_weights().items() if not k.startswith("cond_stage")}


@torch.inference_mode()
def test_the_penultimate_layer_agrees_with_open_clip(
    tmp_path: Path, original: Callable[[str], Any]
):
    tower = randomized(original("open_clip.transformer").TextTransformer(**SIZES, layers=3))
    weights = prefixed("cond_stage_model.model.", tower)
    changes = {key: value for key, value in CHANGES.items() if "unet" not in key}
    ours = (
        load_original(tmp_path, weights | unet_and_vae(), tiny_description(changes))
        .text_encoders[0]
        .network
    )
    expected = run(tower, IDS, layers=2)
    agree(ours(IDS).last_hidden_state, expected)
    assert difference(run(tower, OTHER_IDS, layers=2), expected) > 0.01


@torch.inference_mode()
def test_the_last_layer_with_quick_gelu_agrees_with_open_clip(
    tmp_path: Path, original: Callable[[str], Any]
):
    module = original("open_clip.transformer")
    ratio = TEXT_SIZES["intermediate_size"] / SIZES["width"]
    tower = randomized(
        module.TextTransformer(**SIZES, layers=2, mlp_ratio=ratio, act_layer=module.QuickGELU)
    )
    weights = to_clip(tower.state_dict())
    ours = (
        load_original(tmp_path, weights | unet_and_vae(), tiny_description())
        .text_encoders[0]
        .network
    )
    expected = run(tower, IDS, layers=2)
    agree(ours(IDS).last_hidden_state, expected)
    assert difference(run(tower, OTHER_IDS, layers=2), expected) > 0.01


def to_clip(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a text tower's tensors in the layout of an SD 1.x checkpoint."""
    converted = {}
    for name, value in tensors.items():
        fused = FUSED.fullmatch(name)
        if fused:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                converted[f"{CLIP}encoder.layers.{fused[1]}.self_attn.{part}_proj.{fused[2]}"] = (
                    third
                )
        for old, new in TO_CLIP:
            if re.match(old, name):
                converted[CLIP + re.sub(old, new, name)] = value
    return converted
