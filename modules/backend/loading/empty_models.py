"""Builds diffusers' and transformers' models on the meta device from the sizes in a .yaml."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import cast

from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    DPTForDepthEstimation,
)
from transformers.initialization import no_init_weights

from modules.backend.loading.depth_keys import make_dpt_config
from modules.backend.loading.layers import with_cropping_upsamplers, with_exact_norms
from modules.models.ldm.depth import DepthConfig
from modules.models.ldm.text_encoder import TextConfig
from modules.models.ldm.unet import UNetConfig
from modules.models.ldm.vae import VaeConfig

SIZE_EMBED_WIDTH = 256  # of each number among the sizes that SDXL's UNet gets


def make_empty_unet(config: UNetConfig, *, upcast_attention: bool) -> UNet2DConditionModel:
    """Return the UNet without weights.

    Args:
        config: Its sizes.
        upcast_attention: Whether attention scores need 32-bit floats.
    """
    block_prefixes = ["CrossAttn" if attends else "" for attends in config.has_attention]
    options = {
        "sample_size": config.image_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": [f"{prefix}DownBlock2D" for prefix in block_prefixes],
        "up_block_types": [f"{prefix}UpBlock2D" for prefix in reversed(block_prefixes)],
        "block_out_channels": [config.model_channels * mult for mult in config.channel_mult],
        "layers_per_block": config.num_res_blocks,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.num_heads,  # despite its name, diffusers takes it as a count
        "transformer_layers_per_block": config.transformer_depth,
        "use_linear_projection": config.use_linear_in_transformer,
        "norm_num_groups": config.norm_num_groups,
        "upcast_attention": upcast_attention,
    }
    if config.adm_in_channels:
        options |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_EMBED_WIDTH,
            "projection_class_embeddings_input_dim": config.adm_in_channels,
        }
    with meta_device():
        unet = cast("UNet2DConditionModel", UNet2DConditionModel.from_config(options))  # no tuple
        return with_exact_norms(with_cropping_upsamplers(unet))


def make_empty_vae(config: VaeConfig) -> AutoencoderKL:
    """Return the VAE without weights."""
    options = {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(config.ch_mult),
        "up_block_types": ["UpDecoderBlock2D"] * len(config.ch_mult),
        "block_out_channels": [config.ch * mult for mult in config.ch_mult],
        "layers_per_block": config.num_res_blocks,
        "latent_channels": config.z_channels,
        "norm_num_groups": config.norm_num_groups,
        "sample_size": config.resolution,
        "scaling_factor": config.scale_factor,
        "shift_factor": config.shift_factor or None,
    }
    with meta_device():
        return with_exact_norms(cast("AutoencoderKL", AutoencoderKL.from_config(options)))


# The file's, or how the network is used.
_NOT_OF_THE_NETWORK = (
    "layout",
    "skipped_layer_count",
    "has_projection",
    "hidden_layer",
    "final_norm",
)


def make_empty_text_encoder(config: TextConfig) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Return the text encoder without weights."""
    options = {key: value for key, value in vars(config).items() if key not in _NOT_OF_THE_NETWORK}
    network = CLIPTextModelWithProjection if config.has_projection else CLIPTextModel
    with meta_device():
        return network(CLIPTextConfig(**options))


def make_empty_depth_estimator(
    state_dict: Mapping[str, Tensor], config: DepthConfig
) -> DPTForDepthEstimation:
    """Return the depth estimator without weights.

    Args:
        state_dict: Its tensors in MiDaS's layout; their shapes determine the sizes.
        config: Values that do not follow from shapes.

    Raises:
        KeyError: a tensor that determines a size is missing.
    """
    with meta_device():
        return with_exact_norms(DPTForDepthEstimation(make_dpt_config(state_dict, config)))


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Create parameters on the meta device, without random initialisation.

    Buffers stay real: position_ids on the meta device would make every embedding NaN.
    """
    with init_empty_weights(include_buffers=False), no_init_weights():
        yield
