"""The sizes of the demo models, in the words of the original LDM configuration files."""

from __future__ import annotations

from diffusers import UNet2DConditionModel

from tools.demo_model.text_encoder import HIDDEN

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "channel_mult": [1, 2, 3, 3],
    "num_res_blocks": 1,
    "attention_resolutions": [4],
    "num_heads": 4,
    "use_spatial_transformer": True,
    "transformer_depth": 1,
    "context_dim": HIDDEN,
    "use_checkpoint": False,
    "legacy": False,
    "norm_num_groups": 8,
}
# All levels that attend have three times the first width.
HEAD_CHANNELS = UNET["model_channels"] * 3 // UNET["num_heads"]
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 16,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
    "norm_num_groups": 4,
}


def attention_levels() -> list[bool]:
    """Return for every level whether it attends (LDM counts by how far the level is shrunk)."""
    return [2**level in UNET["attention_resolutions"] for level in range(len(UNET["channel_mult"]))]


def make_unet(in_channels: int = 4, linear_projection: bool = False) -> UNet2DConditionModel:
    """Return an untrained UNet.

    Args:
        in_channels: 4, or 9 for inpainting (mask and masked latents), or 5 for depth.
        linear_projection: SD 2.x projects with linear layers where SD 1.x has 1x1 convolutions.
    """
    attends = attention_levels()
    return UNet2DConditionModel(
        sample_size=UNET["image_size"],
        in_channels=in_channels,
        out_channels=UNET["out_channels"],
        block_out_channels=[UNET["model_channels"] * m for m in UNET["channel_mult"]],
        layers_per_block=UNET["num_res_blocks"],
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]],
        cross_attention_dim=UNET["context_dim"],
        attention_head_dim=UNET["num_heads"],  # diffusers' name for the number of heads
        norm_num_groups=UNET["norm_num_groups"],
        use_linear_projection=linear_projection,
    )
