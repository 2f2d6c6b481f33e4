"""Depth by ZoeDepth (Bhat et al., 2023) with BEiT-L, from files in its authors' layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import BeitConfig, ZoeDepthConfig, ZoeDepthForDepthEstimation

from modules.backend.control.annotators.weights import load_by_keys, to_tensor
from modules.backend.loading.empty_models import meta_device
from modules.backend.loading.ldm_keys import QkvSlice
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.scan import ModelFile
from modules.models.ldm.keys import count_submodules

_PATCH, _HEAD_WIDTH, _STAGES_KEPT = 16, 64, 4
_SHOWN_SIZE, _MULTIPLE = (
    (384, 512),
    32,
)  # height and width at which the network sees pictures, about
_BORDER = 3  # by how many roots of half a side a picture is mirrored beyond its border
_NEAREST, _FARTHEST = 2, 85  # percentiles that become white and black
_WRAPPER = "model."  # of the table of weights in the file
_CORE = "core.core.pretrained."
_VIT, _SCRATCH = _CORE + "model.", "core.core.scratch."
_LAYER_MODULES = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.o_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "lambda_1": "gamma_1",
    "lambda_2": "gamma_2",
    "relative_position_bias.relative_position_bias_table": "attn.relative_position_bias_table",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
}
_QUERY_KEY_VALUE = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
# Pattern of the start of a transformers key, and the start of the file's key from the match.
_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.beit\.embeddings\.cls_token", lambda _: _VIT + "cls_token"),
    (
        r"backbone\.beit\.embeddings\.patch_embeddings\.projection",
        lambda _: _VIT + "patch_embed.proj",
    ),
    (
        r"neck\.reassemble_stage\.readout_projects\.(\d)\.0",
        lambda m: f"{_CORE}act_postprocess{int(m[1]) + 1}.0.project.0",
    ),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.projection",
        lambda m: f"{_CORE}act_postprocess{int(m[1]) + 1}.3",
    ),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.resize",
        lambda m: f"{_CORE}act_postprocess{int(m[1]) + 1}.4",
    ),
    (r"neck\.convs\.(\d)", lambda m: f"{_SCRATCH}layer{int(m[1]) + 1}_rn"),
    (
        r"neck\.fusion_stage\.layers\.(\d)\.projection",
        lambda m: f"{_SCRATCH}refinenet{4 - int(m[1])}.out_conv",
    ),
    (
        r"neck\.fusion_stage\.layers\.(\d)\.residual_layer(\d)\.convolution(\d)",
        lambda m: f"{_SCRATCH}refinenet{4 - int(m[1])}.resConfUnit{m[2]}.conv{m[3]}",
    ),
    (r"relative_head\.conv(\d)", lambda m: f"{_SCRATCH}output_conv.{2 * int(m[1]) - 2}"),
    (r"metric_head\.(conv2|conditional_log_binomial)", lambda m: m[1]),
    (
        r"metric_head\.(seed_bin_regressor|seed_projector|projectors\.\d|attractors\.\d)\.conv(\d)",
        lambda m: f"{m[1]}._net.{2 * int(m[2]) - 2}",
    ),
)


def zoe_depth_key(key: str) -> str | QkvSlice:
    """Return the file's key of a parameter of ZoeDepthForDepthEstimation.

    Raises:
        KeyError: there is no such parameter.
    """
    layer = re.fullmatch(r"backbone\.beit\.layers\.(\d+)\.(.+?)(\.weight|\.bias|)", key)
    if layer is not None:
        number, module, leaf = layer.groups()
        block = f"{_VIT}blocks.{number}."
        if module + leaf in _LAYER_MODULES:
            return block + _LAYER_MODULES[module + leaf]
        if module in _LAYER_MODULES:
            return f"{block}{_LAYER_MODULES[module]}{leaf}"
        return QkvSlice(f"{block}attn.qkv{leaf}", _QUERY_KEY_VALUE.index(module))
    for pattern, make_prefix in _RULES:
        match = re.match(pattern, key)
        if match is not None:
            return make_prefix(match) + key[match.end() :]
    raise KeyError(key)


def make_empty_estimator(state_dict: Mapping[str, Tensor]) -> ZoeDepthForDepthEstimation:
    """Return the estimator without weights, on the meta device.

    Args:
        state_dict: Tensors in the authors' layout; their shapes determine the sizes.

    Raises:
        KeyError: a tensor that determines a size is missing.
    """

    def outputs_of(name: str) -> int:
        return state_dict[name + ".weight"].shape[0]

    width = state_dict[_VIT + "cls_token"].shape[-1]
    layers = count_submodules(state_dict, _VIT + "blocks.")
    distances = state_dict[_VIT + "blocks.0.attn.relative_position_bias_table"].shape[0] - 3
    side = (round(distances**0.5) + 1) // 2
    kept = [layers * stage // _STAGES_KEPT for stage in range(1, _STAGES_KEPT + 1)]
    backbone = BeitConfig(
        hidden_size=width,
        intermediate_size=outputs_of(_VIT + "blocks.0.mlp.fc1"),
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // _HEAD_WIDTH),
        image_size=side * _PATCH,
        patch_size=_PATCH,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
    )
    backbone.out_features = [f"stage{layer}" for layer in kept]
    stages = range(1, _STAGES_KEPT + 1)
    config = ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[outputs_of(f"{_CORE}act_postprocess{stage}.3") for stage in stages],
        fusion_hidden_size=outputs_of(_SCRATCH + "layer1_rn"),
        num_relative_features=outputs_of(_SCRATCH + "output_conv.2"),
        bottleneck_features=outputs_of("conv2"),
        bin_embedding_dim=outputs_of("seed_projector._net.2"),
        num_attractors=[outputs_of(f"attractors.{stage - 1}._net.2") for stage in stages],
        bin_configurations=[
            {
                "n_bins": outputs_of("seed_bin_regressor._net.2"),
                "min_depth": 1e-3,
                "max_depth": 10.0,
            }
        ],
    )
    with meta_device():
        return ZoeDepthForDepthEstimation(config)


def load_estimator(file: ModelFile, device: torch.device) -> ZoeDepthForDepthEstimation:
    """Return the estimator of depth in a file, in 32-bit floats.

    Args:
        file: The file.
        device: Of the network.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or is another network.
    """
    return load_by_keys(make_empty_estimator, zoe_depth_key, file, device, _WRAPPER)


def estimate_depth(estimator: ZoeDepthForDepthEstimation, image: Pixels) -> NDArray[np.float32]:
    """Return the distance of each pixel in metres, float32 [height, width].

    Args:
        estimator: The network.
        image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    pixels = to_tensor(image, estimator.device) / 255
    pad_y, pad_x = (int((side / 2) ** 0.5 * _BORDER) for side in (height, width))
    padded = functional.pad(pixels, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    both = torch.cat((padded, padded.flip(3)))
    small = functional.interpolate(
        both, _shown_size(*both.shape[2:]), mode="bilinear", align_corners=True
    )
    depth: Tensor = estimator((small - 0.5) / 0.5).predicted_depth
    whole = functional.interpolate(depth[:, None], both.shape[2:], mode="bicubic")
    cut = whole[:, 0, pad_y : pad_y + height, pad_x : pad_x + width]
    return ((cut[0] + cut[1].flip(1)) / 2).cpu().numpy()


def draw_depth(depth: NDArray[np.float32]) -> Pixels:
    """Return an image of distances in which near is white, as sd-webui-controlnet draws it.

    Args:
        depth: float32 [height, width].
    """
    nearest, farthest = np.percentile(depth, _NEAREST), np.percentile(depth, _FARTHEST)
    shares = 1 - (depth - nearest) / ((farthest - nearest) or 1)
    grey = (shares * 255).clip(0, 255).astype(np.uint8)
    return grey[:, :, None].repeat(3, axis=2)


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Return the size at which the network sees a picture: that of the side which changes least."""
    scales = _SHOWN_SIZE[0] / height, _SHOWN_SIZE[1] / width
    scale = scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]
    rows, columns = (round(scale * side / _MULTIPLE) * _MULTIPLE for side in (height, width))
    return rows, columns
