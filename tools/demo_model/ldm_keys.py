"""Renames diffusers' weights to the names of the original Stable Diffusion checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tools.demo_model.architecture import UNET, VAE, attention_levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Weights = dict[str, torch.Tensor]
SCALE_FACTOR = 0.18215  # every SD 1.x and 2.x program multiplies encoded latents by this
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE_MIDDLE = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "conv_norm_out": "norm_out",
    "conv_in": "conv_in",
    "conv_out": "conv_out",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _moved(weights: Mapping[str, torch.Tensor], source: str, target: str) -> Weights:
    """Return the weights under one prefix, under another."""
    return {
        target + key.removeprefix(source): value
        for key, value in weights.items()
        if key.startswith(source + ".")
    }


def _unet_blocks() -> Iterator[tuple[str, str]]:
    """Yield (diffusers prefix, LDM prefix) of all blocks on the way down and up."""
    attends, per_level = attention_levels(), UNET["num_res_blocks"]
    levels, number = len(attends), 1
    for level in range(levels):
        for k in range(per_level):
            yield f"down_blocks.{level}.resnets.{k}", f"input_blocks.{number}.0"
            yield f"down_blocks.{level}.attentions.{k}", f"input_blocks.{number}.1"
            number += 1
        if level < levels - 1:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for up, level in enumerate(reversed(range(levels))):
        for k in range(per_level + 1):
            yield f"up_blocks.{up}.resnets.{k}", f"output_blocks.{number}.0"
            yield f"up_blocks.{up}.attentions.{k}", f"output_blocks.{number}.1"
            if k == per_level:
                place = 2 if attends[level] else 1
                yield f"up_blocks.{up}.upsamplers.0.conv", f"output_blocks.{number}.{place}.conv"
            number += 1


def ldm_unet(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return UNet weights under LDM's names, without the prefix of the whole model."""
    result: Weights = {}
    for source, target in (*UNET_ENDS.items(), *_unet_blocks()):
        for key, value in _moved(weights, source, target).items():
            rest = key.removeprefix(target + ".")
            name, _, leaf = rest.rpartition(".")
            is_resnet = ".resnets." in source
            result[f"{target}.{RESNET[name]}.{leaf}" if is_resnet else key] = value
    if len(result) != len(weights):
        raise ValueError(f"renamed {len(result)} of {len(weights)} UNet weights")
    return result


def _vae_blocks() -> Iterator[tuple[str, str]]:
    levels = len(VAE["ch_mult"])
    for level in range(levels):
        for k in range(VAE["num_res_blocks"] + 1):
            up = levels - 1 - level
            yield f"encoder.down_blocks.{level}.resnets.{k}", f"encoder.down.{level}.block.{k}"
            yield f"decoder.up_blocks.{level}.resnets.{k}", f"decoder.up.{up}.block.{k}"
        yield f"encoder.down_blocks.{level}.downsamplers.0", f"encoder.down.{level}.downsample"
        yield f"decoder.up_blocks.{level}.upsamplers.0", f"decoder.up.{levels - 1 - level}.upsample"
    for half in ("encoder", "decoder"):
        yield from ((f"{half}.{a}", f"{half}.{b}") for a, b in VAE_MIDDLE.items())
    yield from (("quant_conv", "quant_conv"), ("post_quant_conv", "post_quant_conv"))


def ldm_vae(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return VAE weights under LDM's names, with the scale factor folded in.

    The demo latents have unit variance; programs multiply by 0.18215 after encoding and divide
    before decoding, so the first and last 1x1 convolution undo that.
    """
    weights = {key: value.clone().float() for key, value in weights.items()}
    channels = VAE["z_channels"]
    weights["quant_conv.weight"][:channels] /= SCALE_FACTOR
    weights["quant_conv.bias"][:channels] /= SCALE_FACTOR
    weights["post_quant_conv.weight"] *= SCALE_FACTOR
    result: Weights = {}
    for source, target in _vae_blocks():
        for key, value in _moved(weights, source, target).items():
            is_projection = "mid.attn_1" in key and value.ndim == 2
            name = key.replace("conv_shortcut", "nin_shortcut")
            result[name] = value[:, :, None, None] if is_projection else value
    if len(result) != len(weights):
        raise ValueError(f"renamed {len(result)} of {len(weights)} VAE weights")
    return result


def ldm_clip(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return text encoder weights under the names of SD 1.x (transformers' old ones)."""
    result = {f"text_model.{key.removeprefix('text_model.')}": v for key, v in weights.items()}
    positions = len(result["text_model.embeddings.position_embedding.weight"])
    result["text_model.embeddings.position_ids"] = torch.arange(positions)[None]
    return result


def open_clip(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return text encoder weights under OpenCLIP's names, as SD 2.x has them.

    OpenCLIP files hold one layer more than SD 2.x uses ("penultimate"): the last layer is
    repeated, and a text projection is added, so that the file is complete.
    """
    weights = {key.removeprefix("text_model."): value for key, value in weights.items()}
    layers = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("encoder.layers."))
    result: Weights = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
    }
    for layer in range(layers + 1):
        source = f"encoder.layers.{min(layer, layers - 1)}"
        target = f"transformer.resblocks.{layer}"
        for leaf in ("weight", "bias"):
            parts = [weights[f"{source}.self_attn.{p}_proj.{leaf}"] for p in "qkv"]
            result[f"{target}.attn.in_proj_{leaf}"] = torch.cat(parts)
            for old, new in OPEN_CLIP_LAYER.items():
                result[f"{target}.{new}.{leaf}"] = weights[f"{source}.{old}.{leaf}"]
    width = len(result["ln_final.weight"])
    result["text_projection"] = torch.eye(width)
    result["logit_scale"] = torch.tensor(1.0)
    return result
