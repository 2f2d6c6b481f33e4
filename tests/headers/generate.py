"""Writes the *.json files of this folder: names and shapes of model files, without weights.

Run `python -m tests.headers.generate` after a change here. The names of the checkpoints are those of the full-size
models of diffusers and transformers, created on the meta device, in LDM's layout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, DPTConfig, DPTForDepthEstimation

from modules.backend.loading import depth_keys, ldm_keys
from modules.models.ldm.unet import UNetConfig

FOLDER = Path(__file__).parent
Shapes = dict[str, list[int]]
SIZES = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}


def unet(config: UNetConfig, **options: Any) -> Shapes:
    block_types = ["CrossAttn" if attention else "" for attention in config.has_attention]
    with torch.device("meta"):
        model = UNet2DConditionModel(
            in_channels=config.in_channels,
            down_block_types=tuple(f"{block}DownBlock2D" for block in block_types),
            up_block_types=tuple(f"{block}UpBlock2D" for block in reversed(block_types)),
            block_out_channels=tuple(config.model_channels * mult for mult in config.channel_mult),
            cross_attention_dim=config.context_dim,
            attention_head_dim=config.num_heads,
            transformer_layers_per_block=config.transformer_depth,
            use_linear_projection=config.use_linear_in_transformer,
            **options,
        )
    return {
        ldm_keys.unet_key(key, config): list(value.shape)
        for key, value in model.state_dict().items()
    }


def sd_unet(in_channels: int, context_dim: int, *, use_linear: bool) -> Shapes:
    config = UNetConfig(
        in_channels=in_channels,
        out_channels=4,
        model_channels=320,
        channel_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        has_attention=(True, True, True, False),
        num_heads=(5, 10, 20, 20) if use_linear else (8, 8, 8, 8),
        transformer_depth=(1, 1, 1, 1),
        context_dim=context_dim,
        use_linear_in_transformer=use_linear,
        norm_num_groups=32,
        image_size=64,
    )
    return unet(config)


def sdxl_unet(in_channels: int = 4) -> Shapes:
    config = UNetConfig(
        in_channels=in_channels,
        out_channels=4,
        model_channels=320,
        channel_mult=(1, 2, 4),
        num_res_blocks=2,
        has_attention=(False, True, True),
        num_heads=(5, 10, 20),
        transformer_depth=(1, 2, 10),
        context_dim=2048,
        use_linear_in_transformer=True,
        norm_num_groups=32,
        image_size=128,
    )
    return unet(config, projection_class_embeddings_input_dim=2816, **SIZES)


def sdxl_refiner_unet() -> Shapes:
    config = UNetConfig(
        in_channels=4,
        out_channels=4,
        model_channels=384,
        channel_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        has_attention=(False, True, True, False),
        num_heads=(6, 12, 24, 24),
        transformer_depth=(4, 4, 4, 4),
        context_dim=1280,
        use_linear_in_transformer=True,
        norm_num_groups=32,
        image_size=128,
    )
    return unet(config, projection_class_embeddings_input_dim=2560, **SIZES)


def vae() -> Shapes:
    with torch.device("meta"):
        model = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
        )
    shapes: Shapes = {}
    for key, value in model.state_dict().items():
        kernel = [1, 1] if "attentions" in key and value.ndim == 2 else []
        shapes[ldm_keys.vae_key(key, 4)] = [*value.shape, *kernel]
    return shapes


def clip() -> Shapes:
    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    with torch.device("meta"):
        model = CLIPTextModel(config)
    shapes = {
        ldm_keys.clip_key(key): list(value.shape) for key, value in model.state_dict().items()
    }
    prefix = "cond_stage_model.transformer.text_model."
    return shapes | {f"{prefix}embeddings.position_ids": [1, 77]}


def open_clip(prefix: str, width: int, layers: int) -> Shapes:
    shapes: Shapes = {
        "token_embedding.weight": [49408, width],
        "positional_embedding": [77, width],
        "ln_final.weight": [width],
        "ln_final.bias": [width],
        "text_projection": [width, width],
        "logit_scale": [],
    }
    for layer in range(layers):
        block = f"transformer.resblocks.{layer}."
        for name in ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias", "attn.out_proj.bias"):
            shapes[block + name] = [width]
        shapes |= {
            f"{block}attn.in_proj_weight": [3 * width, width],
            f"{block}attn.in_proj_bias": [3 * width],
            f"{block}attn.out_proj.weight": [width, width],
            f"{block}mlp.c_fc.weight": [4 * width, width],
            f"{block}mlp.c_fc.bias": [4 * width],
            f"{block}mlp.c_proj.weight": [width, 4 * width],
            f"{block}mlp.c_proj.bias": [width],
        }
    return {prefix + name: shape for name, shape in shapes.items()}


def depth_estimator() -> Shapes:
    config = DPTConfig(
        is_hybrid=True,
        image_size=384,
        neck_ignore_stages=[0, 1],
        neck_hidden_sizes=[256, 512, 768, 768],
        reassemble_factors=[1, 1, 1, 0.5],
        backbone_out_indices=[0, 1, 8, 11],
    )
    with torch.device("meta"):
        model = DPTForDepthEstimation(config)
    shapes: Shapes = {}
    for key, value in model.state_dict().items():
        name = depth_keys.depth_key(key)
        rows, *rest = value.shape
        if isinstance(name, str):
            shapes[name] = [rows, *rest]
        else:  # query, key and value are one tensor in LDM's layout
            shapes[name.key] = [3 * rows, *rest]
    head = {"weight": [1000, 768], "bias": [1000]}
    return shapes | {f"{depth_keys.VIT}head.{leaf}": shape for leaf, shape in head.items()}


def noise_schedule() -> Shapes:
    names = (
        "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod "
        "log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod "
        "posterior_variance posterior_log_variance_clipped posterior_mean_coef1 posterior_mean_coef2"
    )
    return {name: [1000] for name in names.split()} | {
        "model_ema.decay": [],
        "model_ema.num_updates": [],
    }


def lora() -> Shapes:
    shapes: Shapes = {}
    for name, shape in sd_unet(4, 768, use_linear=False).items():
        if ".attn" in name and name.endswith(".weight"):
            module = (
                name.removeprefix("model.diffusion_model.")
                .removesuffix(".weight")
                .replace(".", "_")
            )
            shapes |= {
                f"lora_unet_{module}.alpha": [],
                f"lora_unet_{module}.lora_down.weight": [8, shape[1]],
                f"lora_unet_{module}.lora_up.weight": [shape[0], 8],
            }
    return shapes


def sdxl_text_encoders() -> Shapes:
    clip_l = {
        name.replace("cond_stage_model.", "conditioner.embedders.0."): shape
        for name, shape in clip().items()
    }
    return clip_l | open_clip("conditioner.embedders.1.model.", 1280, 32)


def all_headers() -> dict[str, Shapes]:
    sd1 = sd_unet(4, 768, use_linear=False) | vae() | clip() | noise_schedule()
    sd2_text = open_clip("cond_stage_model.model.", 1024, 24)
    return {
        "sd1": sd1,
        "sd1-inpainting": sd_unet(9, 768, use_linear=False) | vae() | clip(),
        "instruct-pix2pix": sd_unet(8, 768, use_linear=False) | vae() | clip(),
        "sd1-unet-alone": sd_unet(4, 768, use_linear=False),
        "sd2": sd_unet(4, 1024, use_linear=True) | vae() | sd2_text,
        "sd2-inpainting": sd_unet(9, 1024, use_linear=True) | vae() | sd2_text,
        "sd2-depth": sd_unet(5, 1024, use_linear=True) | vae() | sd2_text | depth_estimator(),
        "sdxl": sdxl_unet() | vae() | sdxl_text_encoders(),
        "sdxl-inpainting": sdxl_unet(9) | vae() | sdxl_text_encoders(),
        "sdxl-refiner": sdxl_refiner_unet()
        | vae()
        | open_clip("conditioner.embedders.0.model.", 1280, 32),
        "vae": {name.removeprefix("first_stage_model."): shape for name, shape in vae().items()},
        "lora": lora(),
    }


def main() -> None:
    for name, shapes in all_headers().items():
        text = json.dumps(shapes, separators=(",", ":"), sort_keys=True)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
