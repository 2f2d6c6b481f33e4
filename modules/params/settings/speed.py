"""Options that save computation; those that cost detail are off by default."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator

from modules.params.attentions import AttentionName, read_attention
from modules.params.param import param


class SpeedSettings(BaseModel):
    """How a step is computed, and what of it is left out."""

    cross_attention_optimization: Annotated[AttentionName, BeforeValidator(read_attention)] = param(
        "Automatic",
        "Cross attention optimization",
        help="How attention is computed: Automatic is PyTorch's own; others are listed where their packages are "
        "installed, and change the last digits of a picture.",
        choices="attentions",
        section="speed",
    )
    compile_unet: bool = param(
        False,
        "Compile",
        help="Compiles the repeated blocks of the network: takes about a minute once for a model, whatever the size, "
        "and saves a part of every step on a GPU.",
        section="speed",
    )
    persistent_cond_cache: bool = param(
        True,
        "Persistent cond cache",
        help="Remembers encoded prompts between jobs, also of checkpoints that have left memory.",
        section="speed",
    )

    token_merging_ratio: float = param(
        0.0,
        "Token merging ratio",
        help="Share of the tokens in the largest layers that are merged with their likes: faster for large pictures, "
        "with less detail; 0 is off, 0.5 is usual.",
        infotext="Token merging ratio",
        ge=0,
        le=0.9,
        slider=(0, 0.9, 0.1),
        section="speed",
    )
    token_merging_ratio_img2img: float = param(
        0.0,
        "Token merging ratio for img2img",
        help="Replaces the ratio above in img2img; 0 keeps it.",
        ge=0,
        le=0.9,
        slider=(0, 0.9, 0.1),
        section="speed",
    )
    token_merging_ratio_hr: float = param(
        0.0,
        "Token merging ratio for high-res pass",
        help="Replaces the ratio above in the hires pass; 0 keeps it.",
        infotext="Token merging ratio hr",
        ge=0,
        le=0.9,
        slider=(0, 0.9, 0.1),
        section="speed",
    )
    deep_cache_interval: int = param(
        1,
        "DeepCache interval",
        help="The deep layers of the UNet are computed in every n-th step only, and remembered in between: 3 takes "
        "about 40 % less time and changes details; 1 is off.",
        infotext="DeepCache interval",
        ge=1,
        le=10,
        slider=(1, 10, 1),
        section="speed",
    )
    hypertile_enable_unet: bool = param(
        False,
        "Hypertile U-Net",
        help="Self-attention works within tiles: faster for large pictures, with small changes.",
        infotext="Hypertile U-Net",
        section="speed",
    )
    hypertile_enable_unet_secondpass: bool = param(
        False,
        "Hypertile U-Net hires fix second pass",
        help="Likewise in the hires pass.",
        infotext="Hypertile U-Net second pass",
        section="speed",
    )
    hypertile_max_depth_unet: int = param(
        3,
        "Hypertile U-Net max depth",
        help="0 tiles the largest layers alone, 3 all.",
        infotext="Hypertile U-Net max depth",
        ge=0,
        le=3,
        slider=(0, 3, 1),
        section="speed",
    )
    hypertile_max_tile_unet: int = param(
        256,
        "Hypertile U-Net max tile size",
        help="Largest side of a tile in pixels.",
        infotext="Hypertile U-Net max tile size",
        ge=16,
        le=512,
        slider=(64, 512, 16),
        section="speed",
    )
    hypertile_swap_size_unet: int = param(
        3,
        "Hypertile U-Net swap size",
        help="From how many sizes of tiles each layer's is drawn, so that their borders do not show.",
        infotext="Hypertile U-Net swap size",
        ge=0,
        le=64,
        slider=(0, 64, 1),
        section="speed",
    )
    hypertile_enable_vae: bool = param(
        False,
        "Hypertile VAE",
        help="The attention of the VAE works within tiles.",
        infotext="Hypertile VAE",
        section="speed",
    )
    hypertile_max_tile_vae: int = param(
        128,
        "Hypertile VAE max tile size",
        help="Largest side of a tile in pixels.",
        infotext="Hypertile VAE max tile size",
        ge=16,
        le=512,
        slider=(64, 512, 16),
        section="speed",
    )
    hypertile_swap_size_vae: int = param(
        3,
        "Hypertile VAE swap size",
        help="From how many sizes of tiles the one of a picture is drawn.",
        infotext="Hypertile VAE swap size",
        ge=0,
        le=64,
        slider=(0, 64, 1),
        section="speed",
    )
