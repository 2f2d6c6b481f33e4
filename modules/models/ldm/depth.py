"""The depth estimator of a checkpoint: parameters that its tensors do not determine, from the .yaml.

`num_attention_heads` and `backbone_num_groups` are keys of this project, for estimators smaller than the published
one (MiDaS's dpt_hybrid), which needs neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.models.files.header import Header
from modules.models.ldm.keys import DEPTH_PREFIX
from modules.models.ldm.yaml import YamlSection

DEPTH_VIT = DEPTH_PREFIX + "pretrained.model."
DEPTH_CLASS_TOKEN = (
    DEPTH_VIT + "cls_token"
)  # [1, 1, width]; its presence means that the file has an estimator
BACKBONE_PREFIX = DEPTH_VIT + "patch_embed.backbone."
HEAD_WIDTH = 64  # of every published ViT
DEPTH_PATCH_SIZE = 16


@dataclass(frozen=True)
class DepthConfig:
    """Parameters of a depth estimator that the shapes of its tensors do not determine.

    Args:
        num_attention_heads: Attention heads of every ViT block.
        backbone_num_groups: Groups of every group normalisation in the convolutional backbone before the ViT.
    """

    num_attention_heads: int = 12
    backbone_num_groups: int = 32


def read_depth_config(model: YamlSection, header: Header) -> DepthConfig | None:
    """Return the config of the depth estimator, None when the checkpoint has none.

    Args:
        model: `model.params` of the .yaml.
        header: The checkpoint's header.

    Raises:
        UserError: a value does not divide the channels it splits.
    """
    class_token = header.tensors.get(DEPTH_CLASS_TOKEN)
    if class_token is None:
        return None
    params = model.section("depth_stage_config").section("params")
    width = class_token.shape[-1] if class_token.shape else 0
    heads = params.integer("num_attention_heads", max(1, width // HEAD_WIDTH))
    if heads < 1 or width % heads:
        raise params.invalid_value(
            "num_attention_heads", f"a divisor of the estimator's width {width}"
        )
    groups = params.integer("backbone_num_groups", 32)
    channels = {
        info.shape[0]
        for name, info in header.tensors.items()
        if name.startswith(BACKBONE_PREFIX) and ".norm" in name and len(info.shape) == 1
    }
    if groups < 1 or any(count % groups for count in channels):
        raise params.invalid_value("backbone_num_groups", f"a divisor of {sorted(channels)}")
    return DepthConfig(heads, groups)
