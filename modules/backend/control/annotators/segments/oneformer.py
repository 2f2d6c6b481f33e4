"""Segments by OneFormer (Jain et al., 2023) with Swin-L, from files in its authors' layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import OneFormerConfig, OneFormerModel, SwinConfig

from modules.backend.control.annotators.segments.palettes import ADE20K, COCO, paint
from modules.backend.control.annotators.weights import load_by_keys, to_tensor
from modules.backend.loading.empty_models import meta_device
from modules.backend.loading.ldm_keys import QkvSlice
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.scan import ModelFile
from modules.models.ldm.keys import count_submodules

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_MULTIPLE = 32  # of which the sides of what the network sees are
_QUERIES_AT_ONCE = 25  # whose masks are enlarged together
# "the task is semantic" in tokens of CLIP, between those of its beginning and end, filled up to 77.
_TASK, _TASK_LENGTH = (49406, 518, 10549, 533, 29119, 1550, 49407), 77
_WRAPPER = "model."  # of the table of weights in the file
_SWIN, _PIXELS, _PREDICTOR = "backbone.", "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
_ENCODER_LAYERS = _PIXELS + "transformer.encoder.layers."
_QUERY_KEY_VALUE = ("q_proj", "k_proj", "v_proj")
# Pattern of the start of a transformers key, and the start of the file's key from the match.
_RULES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (
        r"pixel_level_module\.encoder\.swin\.embeddings\.patch_embeddings\.projection",
        lambda _: _SWIN + "patch_embed.proj",
    ),
    (r"pixel_level_module\.encoder\.swin\.embeddings\.norm", lambda _: _SWIN + "patch_embed.norm"),
    (
        r"pixel_level_module\.encoder\.swin\.encoder\.layers\.(\d)\.downsample",
        lambda m: f"{_SWIN}layers.{m[1]}.downsample",
    ),
    (
        r"pixel_level_module\.encoder\.hidden_states_norms\.stage(\d)",
        lambda m: f"{_SWIN}norm{int(m[1]) - 1}",
    ),
    (r"pixel_level_module\.decoder\.level_embed", lambda _: _PIXELS + "transformer.level_embed"),
    (r"pixel_level_module\.decoder\.input_projections", lambda _: _PIXELS + "input_proj"),
    (r"pixel_level_module\.decoder\.mask_projection", lambda _: _PIXELS + "mask_features"),
    (
        r"pixel_level_module\.decoder\.(adapter_1|layer_1)\.([01])",
        lambda m: _PIXELS + m[1] + (".norm" if m[2] == "1" else ""),
    ),
    (
        r"pixel_level_module\.decoder\.encoder\.layers\.(\d+)\.(self_attn_layer_norm|final_layer_norm|fc1|fc2)",
        lambda m: f"{_ENCODER_LAYERS}{m[1]}.{_ENCODER_MODULES[m[2]]}",
    ),
    (r"pixel_level_module\.decoder\.encoder\.layers\.", lambda _: _ENCODER_LAYERS),
    (r"transformer_module\.queries_embedder", lambda _: _PREDICTOR + "query_embed"),
    (r"transformer_module\.level_embed", lambda _: _PREDICTOR + "level_embed"),
    (
        r"transformer_module\.decoder\.query_input_projection",
        lambda _: _PREDICTOR + "class_input_proj",
    ),
    (r"transformer_module\.decoder\.query_transformer", lambda _: _PREDICTOR + "class_transformer"),
    (
        r"transformer_module\.decoder\.mask_embed\.layers\.(\d)\.0",
        lambda m: f"{_PREDICTOR}mask_embed.layers.{m[1]}",
    ),
    (
        r"transformer_module\.decoder\.layers\.(\d+)\.(cross_attn|self_attn|ffn)",
        lambda m: f"{_PREDICTOR}{_DECODER_MODULES[m[2]]}.{m[1]}",
    ),
    (r"transformer_module\.decoder\.(decoder_norm|class_embed)", lambda m: _PREDICTOR + m[1]),
    (r"task_encoder\.task_mlp\.layers\.(\d)\.0", lambda m: f"task_mlp.layers.{m[1]}"),
)
_ENCODER_MODULES = {
    "self_attn_layer_norm": "norm1",
    "final_layer_norm": "norm2",
    "fc1": "linear1",
    "fc2": "linear2",
}
_DECODER_MODULES = {
    "cross_attn": "transformer_cross_attention_layers",
    "self_attn": "transformer_self_attention_layers",
    "ffn": "transformer_ffn_layers",
}
_SWIN_MODULES = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.o_proj": "attn.proj",
    "attention.relative_position_bias.relative_position_bias_table": "attn.relative_position_bias_table",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


@dataclass(frozen=True)
class Classes:
    """What a file was trained for.

    Args:
        palette: Colours of its classes.
        shorter: Shorter side at which the network sees pictures.
        longest: The longer one at most.
    """

    palette: str
    shorter: int
    longest: int


OF_ADE20K, OF_COCO = Classes(ADE20K, 640, 2560), Classes(COCO, 800, 1333)


def oneformer_key(key: str) -> str | QkvSlice:
    """Return the file's key of a parameter of OneFormerModel.

    Raises:
        KeyError: there is no such parameter.
    """
    block = re.fullmatch(
        r"pixel_level_module\.encoder\.swin\.encoder\.(layers\.\d\.blocks\.\d+\.)(.+?)(\.weight|\.bias|)",
        key,
    )
    if block is not None:
        place, module, leaf = block.groups()
        if module in _SWIN_MODULES:
            return f"{_SWIN}{place}{_SWIN_MODULES[module]}{leaf}"
        part = _QUERY_KEY_VALUE.index(module.removeprefix("attention."))
        return QkvSlice(f"{_SWIN}{place}attn.qkv{leaf}", part)
    attention = re.fullmatch(
        r"transformer_module\.decoder\.layers\.(\d+)\.self_attn\.self_attn\.([qkv]_proj)\.(weight|bias)",
        key,
    )
    if attention is not None:
        number, part, leaf = attention.groups()
        joined = f"{_PREDICTOR}transformer_self_attention_layers.{number}.self_attn.in_proj_{leaf}"
        return QkvSlice(joined, _QUERY_KEY_VALUE.index(part))
    for pattern, make_prefix in _RULES:
        match = re.match(pattern, key)
        if match is not None:
            return make_prefix(match) + key[match.end() :]
    raise KeyError(key)


def make_empty_network(state_dict: Mapping[str, Tensor]) -> OneFormerModel:
    """Return the network without weights, on the meta device.

    Args:
        state_dict: Tensors in the authors' layout; their shapes determine the sizes.

    Raises:
        KeyError: a tensor that determines a size is missing.
    """

    def shape_of(name: str) -> tuple[int, ...]:
        return tuple(state_dict[name].shape)

    stages = range(count_submodules(state_dict, _SWIN + "layers."))
    tables = [
        shape_of(f"{_SWIN}layers.{stage}.blocks.0.attn.relative_position_bias_table")
        for stage in stages
    ]
    backbone = SwinConfig(
        embed_dim=shape_of(_SWIN + "patch_embed.proj.weight")[0],
        depths=[count_submodules(state_dict, f"{_SWIN}layers.{stage}.blocks.") for stage in stages],
        num_heads=[heads for _, heads in tables],
        window_size=(round(tables[0][0] ** 0.5) + 1) // 2 if tables else 1,
    )
    backbone.out_features = [f"stage{stage + 1}" for stage in stages]
    queries, width = shape_of(_PREDICTOR + "query_embed.weight")
    config = OneFormerConfig(
        backbone_config=backbone,
        num_queries=queries,
        hidden_dim=width,
        conv_dim=shape_of(_PIXELS + "mask_features.weight")[1],
        mask_dim=shape_of(_PIXELS + "mask_features.weight")[0],
        encoder_layers=count_submodules(state_dict, _ENCODER_LAYERS),
        encoder_feedforward_dim=shape_of(_ENCODER_LAYERS + "0.linear1.weight")[0],
        decoder_layers=count_submodules(state_dict, _PREDICTOR + "transformer_ffn_layers.") + 1,
        dim_feedforward=shape_of(_PREDICTOR + "transformer_ffn_layers.0.linear1.weight")[0],
        query_dec_layers=count_submodules(
            state_dict, _PREDICTOR + "class_transformer.decoder.layers."
        ),
    )
    config.num_labels = shape_of(_PREDICTOR + "class_embed.weight")[0] - 1
    with meta_device():
        network = OneFormerModel(config)
    network.pixel_level_module.encoder.swin.layernorm = nn.Identity()  # follows what is taken
    return network


def load_network(file: ModelFile, device: torch.device) -> OneFormerModel:
    """Return the network in a file, in 32-bit floats.

    Args:
        file: The file.
        device: Of the network.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or is another network.
    """
    return load_by_keys(make_empty_network, oneformer_key, file, device, _WRAPPER)


def find_segments(network: OneFormerModel, image: Pixels, classes: Classes) -> Pixels:
    """Return an image whose segments have the colours of their classes.

    Args:
        network: The network.
        image: uint8 [height, width, 3].
        classes: What its file was trained for.
    """
    height, width = image.shape[:2]
    scale = classes.shorter / min(height, width)
    scale = min(scale, classes.longest / max(height, width))
    shown = int(height * scale + 0.5), int(width * scale + 0.5)
    resized = Image.fromarray(image).resize((shown[1], shown[0]), Image.Resampling.BILINEAR)
    pixels = to_tensor(np.asarray(resized), network.device)
    mean, deviation = (pixels.new_tensor(x)[:, None, None] for x in (_MEAN, _STD))
    pixels = (pixels - mean) / deviation
    padded = functional.pad(pixels, (0, -shown[1] % _MULTIPLE, 0, -shown[0] % _MULTIPLE))
    task = pixels.new_zeros(1, _TASK_LENGTH)
    task[0, : len(_TASK)] = pixels.new_tensor(_TASK)
    found = network(padded, task)
    masks: Tensor = found.transformer_decoder_mask_predictions
    shares: Tensor = found.transformer_decoder_class_predictions[0].softmax(-1)[:, :-1]
    sums = pixels.new_zeros(shares.shape[1], height, width)
    for part, share in zip(
        masks.split(_QUERIES_AT_ONCE, 1), shares.split(_QUERIES_AT_ONCE), strict=True
    ):
        whole = functional.interpolate(part, padded.shape[2:], mode="bilinear")
        cut = whole[:, :, : shown[0], : shown[1]]
        there = functional.interpolate(cut, (height, width), mode="bilinear")[0].sigmoid()
        sums += torch.einsum("qc,qhw->chw", share, there)
    return paint(sums.argmax(0).cpu().numpy(), classes.palette)
