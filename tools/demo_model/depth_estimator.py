"""The small depth estimator of the depth demo: MiDaS's DPT hybrid, narrow enough for 0.3 MB."""

from __future__ import annotations

import torch
from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

from modules.models.ldm.depth import DEPTH_PATCH_SIZE

SIDE = 256  # of the square it sees
PATCHES = SIDE // DEPTH_PATCH_SIZE
WIDTH, LAYERS, HEADS = 32, 4, 1
STEM_CHANNELS, STAGE_CHANNELS = 16, (32, 32, 64)
NORM_GROUPS = 8  # of the backbone; 32 need more channels than these
FUSION_CHANNELS = 16


def make_estimator() -> DPTForDepthEstimation:
    """Return an untrained estimator of pictures [batch, 3, 256, 256] from -1 to 1."""
    backbone = BitConfig(
        global_padding="same",
        layer_type="bottleneck",
        depths=[1] * len(STAGE_CHANNELS),
        hidden_sizes=list(STAGE_CHANNELS),
        embedding_size=STEM_CHANNELS,
        embedding_dynamic_padding=True,
        num_groups=NORM_GROUPS,
    )
    backbone.out_features = [f"stage{k + 1}" for k in range(len(STAGE_CHANNELS))]
    model = DPTForDepthEstimation(
        DPTConfig(
            is_hybrid=True,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
            image_size=SIDE,
            patch_size=DEPTH_PATCH_SIZE,
            qkv_bias=True,
            backbone_config=backbone,
            backbone_out_indices=[0, 1, LAYERS * 2 // 3, LAYERS - 1],
            backbone_featmap_shape=[1, STAGE_CHANNELS[-1], PATCHES, PATCHES],
            neck_ignore_stages=[0, 1],
            neck_hidden_sizes=[*STAGE_CHANNELS[:2], WIDTH, WIDTH],
            readout_type="project",
            reassemble_factors=[1, 1, 1, 0.5],
            fusion_hidden_size=FUSION_CHANNELS,
        )
    )
    with torch.no_grad():  # the head ends in a ReLU, which learns nothing from where it is zero
        model.head.head[-2].bias.fill_(0.5)
    return model
