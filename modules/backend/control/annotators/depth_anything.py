"""Depth by Depth Anything (Yang et al., 2024), versions 1 and 2, from files in its authors' layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from modules.backend.control.annotators.weights import load_by_keys, to_tensor
from modules.backend.loading.empty_models import meta_device
from modules.backend.loading.ldm_keys import QkvSlice
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.scan import ModelFile
from modules.models.ldm.keys import count_submodules

_PATCH, _HEAD_WIDTH = 14, 64
_SHORTER_SIDE = 518
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_OFFSET = 0.1  # DINOv2 adds it to the number of patches before it enlarges its positions
_STAGES_KEPT = 4
# After which layers version 2 takes features; version 1 takes the last four.
_KEPT_LAYERS = {12: (3, 6, 9, 12), 24: (5, 12, 18, 24)}
_VIT, _HEAD = "pretrained.", "depth_head."
_SCRATCH = _HEAD + "scratch."
_LAYER_MODULES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_QUERY_KEY_VALUE = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_TOP = {
    "backbone.embeddings.cls_token": _VIT + "cls_token",
    "backbone.embeddings.mask_token": _VIT + "mask_token",
    "backbone.embeddings.position_embeddings": _VIT + "pos_embed",
}
# Pattern of the start of a transformers key, and the start of the file's key from the match.
_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"backbone\.embeddings\.patch_embeddings\.projection", lambda _: _VIT + "patch_embed.proj"),
    (r"backbone\.layernorm", lambda _: _VIT + "norm"),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.projection",
        lambda m: f"{_HEAD}projects.{m[1]}",
    ),
    (
        r"neck\.reassemble_stage\.layers\.(\d)\.resize",
        lambda m: f"{_HEAD}resize_layers.{m[1]}",
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
    (r"head\.conv1", lambda _: _SCRATCH + "output_conv1"),
    (r"head\.conv2", lambda _: _SCRATCH + "output_conv2.0"),
    (r"head\.conv3", lambda _: _SCRATCH + "output_conv2.2"),
)


class _Embeddings(Dinov2Embeddings):
    """Positions as DINOv2 itself enlarges them: by a factor, which is a little more than transformers' sizes say."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        del embeddings  # its number of patches is that of height and width
        positions: Tensor = self.position_embeddings
        side = round((positions.shape[1] - 1) ** 0.5)
        rows, columns = height // _PATCH, width // _PATCH
        if rows == columns == side:
            return positions
        grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        factors = ((rows + _OFFSET) / side, (columns + _OFFSET) / side)
        large = functional.interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat((positions[:, :1], large.flatten(2).transpose(1, 2)), 1)


def depth_anything_key(key: str) -> str | QkvSlice:
    """Return the file's key of a parameter of DepthAnythingForDepthEstimation.

    Raises:
        KeyError: there is no such parameter.
    """
    if key in _TOP:
        return _TOP[key]
    layer = re.fullmatch(r"backbone\.encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias|)", key)
    if layer is not None:
        number, module, leaf = layer.groups()
        block = f"{_VIT}blocks.{number}."
        if module in _LAYER_MODULES:
            return f"{block}{_LAYER_MODULES[module]}{leaf}"
        part = _QUERY_KEY_VALUE.index(module)
        return QkvSlice(f"{block}attn.qkv{leaf}", part)
    for pattern, make_prefix in _RULES:
        match = re.match(pattern, key)
        if match is not None:
            return make_prefix(match) + key[match.end() :]
    raise KeyError(key)


def make_empty_estimator(
    state_dict: Mapping[str, Tensor], version: int
) -> DepthAnythingForDepthEstimation:
    """Return the estimator without weights, on the meta device.

    Args:
        state_dict: Tensors in the authors' layout; their shapes determine the sizes.
        version: 1 or 2; the files say nothing of it.

    Raises:
        KeyError: a tensor that determines a size is missing.
    """
    width = state_dict[_VIT + "cls_token"].shape[-1]
    layers = count_submodules(state_dict, _VIT + "blocks.")
    side = round((state_dict[_VIT + "pos_embed"].shape[1] - 1) ** 0.5)
    last = tuple(range(layers - _STAGES_KEPT + 1, layers + 1))
    backbone = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // _HEAD_WIDTH),
        image_size=side * _PATCH,
        patch_size=_PATCH,
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    kept = _KEPT_LAYERS.get(layers, last) if version > 1 else last
    backbone.out_features = [f"stage{layer}" for layer in kept]
    projects = [state_dict[f"{_HEAD}projects.{stage}.weight"] for stage in range(_STAGES_KEPT)]
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=_PATCH,
        reassemble_hidden_size=width,
        neck_hidden_sizes=[weight.shape[0] for weight in projects],
        fusion_hidden_size=state_dict[_SCRATCH + "layer1_rn.weight"].shape[0],
        head_hidden_size=state_dict[_SCRATCH + "output_conv2.0.weight"].shape[0],
    )
    with meta_device():
        estimator = DepthAnythingForDepthEstimation(config)
        estimator.backbone.embeddings = _Embeddings(backbone)
    return estimator


def load_estimator(
    file: ModelFile, device: torch.device, version: int
) -> DepthAnythingForDepthEstimation:
    """Return the estimator of depth in a file, in 32-bit floats.

    Args:
        file: The file.
        device: Of the network.
        version: 1 or 2.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or is another network.
    """
    make = partial(make_empty_estimator, version=version)
    return load_by_keys(make, depth_anything_key, file, device)


def estimate_depth(
    estimator: DepthAnythingForDepthEstimation, image: Pixels
) -> NDArray[np.float32]:
    """Return the inverse depth of each pixel, float32 [height, width].

    Args:
        estimator: The network.
        image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    scale = _SHORTER_SIDE / min(height, width)
    size = [max(_SHORTER_SIDE, round(side * scale / _PATCH) * _PATCH) for side in (width, height)]
    # sd-webui-controlnet gives the network blue first.
    shares = image[:, :, ::-1].astype(np.float64) / 255
    resized = cv2.resize(shares, size, interpolation=cv2.INTER_CUBIC)
    normalized = ((resized - _MEAN) / _STD).astype(np.float32)
    depth: Tensor = estimator(to_tensor(normalized, estimator.device)).predicted_depth
    whole = functional.interpolate(depth[None], (height, width), mode="bilinear")
    return whole[0, 0].cpu().numpy()
