"""The keys are checked against a conversion in the other direction, from MiDaS's keys."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import DPTForDepthEstimation

from modules.backend.components import Precision
from modules.backend.loading import empty_models
from modules.backend.loading.depth_keys import UNUSED_KEYS, depth_key
from modules.backend.loading.loader import load_components
from modules.core.errors import BadFile
from modules.models.ldm.depth import DepthConfig
from tests.backend.checkpoints_depth import tiny_config, tiny_estimator, tiny_weights, write_depth
from tests.backend.checkpoints_sd2 import tiny_sd2_weights, write_sd2
from tests.models.model_files import shapes_of
from tests.tolerance import assert_alike, rounding

FULL = Precision(torch.float32, torch.float32, torch.float32)
PREFIX = "depth_model.model."
VIT = r"^pretrained\.model\."
FROM_MIDAS = [
    (VIT + r"(cls_token)$", r"dpt.embeddings.\1"),
    (VIT + r"pos_embed$", "dpt.embeddings.position_embeddings"),
    (VIT + r"patch_embed\.proj\.", "dpt.embeddings.projection."),
    (
        VIT + r"patch_embed\.backbone\.stem\.conv\.",
        "dpt.embeddings.backbone.bit.embedder.convolution.",
    ),
    (VIT + r"patch_embed\.backbone\.stem\.norm\.", "dpt.embeddings.backbone.bit.embedder.norm."),
    (
        VIT + r"patch_embed\.backbone\.stages\.(\d)\.blocks\.(\d)\.",
        r"dpt.embeddings.backbone.bit.encoder.stages.\1.layers.\2.",
    ),
    (VIT + r"norm\.", "dpt.layernorm."),
    (VIT + r"blocks\.(\d+)\.norm1\.", r"dpt.encoder.layer.\1.layernorm_before."),
    (VIT + r"blocks\.(\d+)\.norm2\.", r"dpt.encoder.layer.\1.layernorm_after."),
    (VIT + r"blocks\.(\d+)\.attn\.proj\.", r"dpt.encoder.layer.\1.attention.output.dense."),
    (VIT + r"blocks\.(\d+)\.mlp\.fc1\.", r"dpt.encoder.layer.\1.intermediate.dense."),
    (VIT + r"blocks\.(\d+)\.mlp\.fc2\.", r"dpt.encoder.layer.\1.output.dense."),
    (r"^pretrained\.act_postprocess3\.0\.project\.", "neck.reassemble_stage.readout_projects.2."),
    (r"^pretrained\.act_postprocess4\.0\.project\.", "neck.reassemble_stage.readout_projects.3."),
    (r"^pretrained\.act_postprocess3\.3\.", "neck.reassemble_stage.layers.2.projection."),
    (r"^pretrained\.act_postprocess4\.3\.", "neck.reassemble_stage.layers.3.projection."),
    (r"^pretrained\.act_postprocess4\.4\.", "neck.reassemble_stage.layers.3.resize."),
    *((rf"^scratch\.layer{n}_rn\.", f"neck.convs.{n - 1}.") for n in (1, 2, 3, 4)),
    *(
        (rf"^scratch\.refinenet{n}\.out_conv\.", f"neck.fusion_stage.layers.{4 - n}.projection.")
        for n in (1, 2, 3, 4)
    ),
    *(
        (
            rf"^scratch\.refinenet{n}\.resConfUnit(\d)\.conv(\d)\.",
            rf"neck.fusion_stage.layers.{4 - n}.residual_layer\1.convolution\2.",
        )
        for n in (1, 2, 3, 4)
    ),
    (r"^scratch\.output_conv\.", "head.head."),
]


def from_midas(weights):
    """Return MiDaS's tensors by transformers' keys."""
    converted = {}
    for name, value in weights.items():
        short = name.removeprefix(PREFIX)
        fused = re.fullmatch(r"pretrained\.model\.blocks\.(\d+)\.attn\.qkv\.(weight|bias)", short)
        if fused:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                converted[f"dpt.encoder.layer.{fused[1]}.attention.attention.{part}.{fused[2]}"] = (
                    third
                )
            continue
        (new,) = [re.sub(old, to, short) for old, to in FROM_MIDAS if re.match(old, short)]
        converted[new] = value
    return converted


@pytest.mark.parametrize(("which", "heads"), [("published", 12), ("tiny", 2)])
def test_every_midas_key_is_accounted_for(which, heads):
    if which == "published":
        shapes = {k: v for k, v in shapes_of("sd2-depth").items() if k.startswith(PREFIX)}
        assert len(shapes) == 368  # as in 512-depth-ema.ckpt
        weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    else:
        weights = tiny_weights()
    used = {name: value for name, value in weights.items() if not re.fullmatch(UNUSED_KEYS, name)}
    assert len(used) == len(weights) - 2
    theirs = from_midas(used)
    ours = empty_models.make_empty_depth_estimator(weights, DepthConfig(heads)).state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value.numel() == theirs[key].numel(), key
        name = depth_key(key)
        assert key in from_midas(
            {
                name if isinstance(name, str) else name.key: used[
                    name if isinstance(name, str) else name.key
                ]
            }
        )


def test_a_depth_checkpoint_computes_the_same_depth(tmp_path):
    path = write_depth(tmp_path / "d.safetensors")
    estimator = load_components(path, path.with_suffix(".yaml"), FULL).depth_estimator
    assert estimator is not None
    assert not any(t.is_meta for t in (*estimator.parameters(), *estimator.buffers()))
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = (model(pixels).predicted_depth for model in (estimator, tiny_estimator()))
        assert_alike(ours, theirs, rounding(estimator))


def test_heads_and_groups_come_from_the_yaml(tmp_path):
    params = {"num_attention_heads": 4, "backbone_num_groups": 8}
    changes = {"depth_stage_config": {"params": params}}
    path = write_depth(tmp_path / "d.safetensors", changes=changes)
    estimator = load_components(path, path.with_suffix(".yaml"), FULL).depth_estimator
    assert estimator is not None
    theirs = DPTForDepthEstimation(tiny_config(heads=4, groups=8)).eval()
    theirs.load_state_dict(tiny_estimator().state_dict())
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = estimator(pixels).predicted_depth
        assert_alike(ours, theirs(pixels).predicted_depth, rounding(estimator))
        assert not torch.allclose(ours, tiny_estimator()(pixels).predicted_depth, rtol=1e-3)


def test_a_depth_checkpoint_without_its_estimator_loads(tmp_path):
    path = write_sd2(tmp_path / "pruned.safetensors", 5)
    components = load_components(path, path.with_suffix(".yaml"), FULL)
    assert components.depth_estimator is None
    assert components.unet.config.in_channels == 5


def test_missing_keys_of_a_depth_estimator_are_named(tmp_path):
    weights = tiny_sd2_weights(5) | tiny_weights()
    del weights[PREFIX + "scratch.layer4_rn.weight"]
    path = write_sd2(tmp_path / "d.safetensors", 5, weights=weights)
    with pytest.raises(BadFile, match=r"depth estimator of 'd\.safetensors' lacks .*layer4_rn"):
        load_components(path, path.with_suffix(".yaml"), FULL)
