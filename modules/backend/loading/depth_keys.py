"""Maps keys of transformers' DPT to those of MiDaS's DPT hybrid in SD 2 depth checkpoints.

MiDaS's keys are those of github.com/isl-org/MiDaS, dpt_depth.py, with timm's vit_base_r50_s16_384 inside
(Ranftl et al. 2021).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor
from transformers import BitConfig, DPTConfig

from modules.backend.loading.ldm_keys import QkvSlice
from modules.models.ldm.depth import DEPTH_PATCH_SIZE, DepthConfig
from modules.models.ldm.depth import DEPTH_VIT as VIT
from modules.models.ldm.names import DEPTH_PREFIX, count_submodules

_SCRATCH = DEPTH_PREFIX + "scratch."
UNUSED_KEYS = re.escape(VIT) + r"head\..*"  # the ImageNet classifier
_LAYER_MODULES = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_QUERY_KEY_VALUE = ("query", "key", "value")
# Pattern of the start of a transformers key, and the start of MiDaS's key from the match.
_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"dpt\.embeddings\.cls_token", lambda _: VIT + "cls_token"),
    (r"dpt\.embeddings\.position_embeddings", lambda _: VIT + "pos_embed"),
    (r"dpt\.embeddings\.projection\.", lambda _: VIT + "patch_embed.proj."),
    (
        r"dpt\.embeddings\.backbone\.bit\.embedder\.convolution\.",
        lambda _: VIT + "patch_embed.backbone.stem.conv.",
    ),
    (
        r"dpt\.embeddings\.backbone\.bit\.embedder\.norm\.",
        lambda _: VIT + "patch_embed.backbone.stem.norm.",
    ),
    (
        r"dpt\.embeddings\.backbone\.bit\.encoder\.stages\.(\d+)\.layers\.(\d+)\.",
        lambda m: f"{VIT}patch_embed.backbone.stages.{m[1]}.blocks.{m[2]}.",
    ),
    (r"dpt\.layernorm\.", lambda _: VIT + "norm."),
    (
        r"neck\.reassemble_stage\.readout_projects\.(\d)\.0\.",
        lambda m: f"{DEPTH_PREFIX}pretrained.act_postprocess{int(m[1]) + 1}.0.project.0.",
    ),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.projection\.",
        lambda m: f"{DEPTH_PREFIX}pretrained.act_postprocess{int(m[1]) + 1}.3.",
    ),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.resize\.",
        lambda m: f"{DEPTH_PREFIX}pretrained.act_postprocess{int(m[1]) + 1}.4.",
    ),
    (r"neck\.convs\.(\d)\.", lambda m: f"{_SCRATCH}layer{int(m[1]) + 1}_rn."),
    (
        r"neck\.fusion_stage\.layers\.(\d)\.projection\.",
        lambda m: f"{_SCRATCH}refinenet{4 - int(m[1])}.out_conv.",
    ),
    (
        r"neck\.fusion_stage\.layers\.(\d)\.residual_layer(\d)\.convolution(\d)\.",
        lambda m: f"{_SCRATCH}refinenet{4 - int(m[1])}.resConfUnit{m[2]}.conv{m[3]}.",
    ),
    (r"head\.head\.", lambda _: _SCRATCH + "output_conv."),
)


def depth_key(key: str) -> str | QkvSlice:
    """Return MiDaS's key of a parameter of DPTForDepthEstimation."""
    layer = re.fullmatch(r"dpt\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", key)
    if layer is not None:
        number, module, leaf = layer.groups()
        block = f"{VIT}blocks.{number}."
        if module in _LAYER_MODULES:
            return f"{block}{_LAYER_MODULES[module]}.{leaf}"
        part = _QUERY_KEY_VALUE.index(module.removeprefix("attention.attention."))
        return QkvSlice(f"{block}attn.qkv.{leaf}", part)
    for pattern, make_prefix in _RULES:
        match = re.match(pattern, key)
        if match is not None:
            return make_prefix(match) + key[match.end() :]
    raise KeyError(key)


def make_dpt_config(state_dict: Mapping[str, Tensor], config: DepthConfig) -> DPTConfig:
    """Return the estimator's configuration.

    Args:
        state_dict: Tensors in MiDaS's layout; their shapes determine most of it.
        config: Values that do not follow from shapes.

    Raises:
        KeyError: a tensor that determines a size is missing.
    """
    width = state_dict[VIT + "cls_token"].shape[-1]
    layers = count_submodules(state_dict, VIT + "blocks.")
    tokens = state_dict[VIT + "pos_embed"].shape[1] - 1
    side = round(tokens**0.5)
    stages = VIT + "patch_embed.backbone.stages."
    stage_count = count_submodules(state_dict, stages)
    neck = [state_dict[f"{_SCRATCH}layer{level}_rn.weight"] for level in (1, 2, 3, 4)]
    last = [f"{stages}{stage}.blocks.0.conv3.weight" for stage in range(stage_count)]
    backbone = BitConfig(
        global_padding="same",
        layer_type="bottleneck",
        depths=[
            count_submodules(state_dict, f"{stages}{stage}.blocks.") for stage in range(stage_count)
        ],
        hidden_sizes=[state_dict[name].shape[0] for name in last],
        embedding_size=state_dict[VIT + "patch_embed.backbone.stem.conv.weight"].shape[0],
        embedding_dynamic_padding=True,
        num_groups=config.backbone_num_groups,
    )
    backbone.out_features = [f"stage{stage + 1}" for stage in range(stage_count)]
    return DPTConfig(
        is_hybrid=True,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=state_dict[VIT + "blocks.0.mlp.fc1.weight"].shape[0],
        hidden_act="gelu",
        layer_norm_eps=1e-6,  # timm's; transformers' own default for DPT differs in the fifth digit
        image_size=side * DEPTH_PATCH_SIZE,
        patch_size=DEPTH_PATCH_SIZE,
        qkv_bias=True,
        backbone_config=backbone,
        # 8 and 11 of the published 12 layers
        backbone_out_indices=[0, 1, layers * 2 // 3, layers - 1],
        backbone_featmap_shape=[
            1,
            state_dict[VIT + "patch_embed.proj.weight"].shape[1],
            side,
            side,
        ],
        neck_ignore_stages=[0, 1],
        neck_hidden_sizes=[weight.shape[1] for weight in neck],
        readout_type="project",
        reassemble_factors=[1, 1, 1, 0.5],
        fusion_hidden_size=neck[0].shape[0],
    )
