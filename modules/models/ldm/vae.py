"""The VAE that an LDM .yaml describes.

Keys have the meaning they have in LDM (github.com/CompVis/stable-diffusion, ldm/modules/diffusionmodules/model.py).
`norm_num_groups` and `shift_factor` (see LatentFormat) are keys of this project.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import Unsupported
from modules.models.ldm.yaml import YamlSection

SUPPORTED_VALUES = {
    "double_z": (True,),
    "resamp_with_conv": (True,),
    "attn_type": ("vanilla", "vanilla-xformers"),
}


@dataclass(frozen=True)
class VaeConfig:
    """The VAE, in LDM's terms."""

    in_channels: int
    out_channels: int
    z_channels: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    resolution: int
    norm_num_groups: int
    scale_factor: float
    shift_factor: float


def read_vae_config(model: YamlSection) -> VaeConfig:
    """Return the VAE that the .yaml describes.

    Args:
        model: `model.params` of the .yaml.

    Raises:
        UserError: a key is missing or has an invalid value.
        Unsupported: a key requires something that is not implemented here.
    """
    params = model.section("first_stage_config").section("params")
    ddconfig = params.section("ddconfig")
    ddconfig.require_supported(SUPPORTED_VALUES)
    channels = ddconfig.integer("z_channels")
    if params.integer("embed_dim", channels) != channels:
        raise Unsupported(
            f"'{params.file}' has an embed_dim that differs from z_channels, which is not supported."
        )
    if ddconfig.integers("attn_resolutions", ()):
        raise Unsupported(
            f"'{params.file}' has {ddconfig.key_path}.attn_resolutions, which is not supported."
        )
    width, mult = ddconfig.integer("ch"), ddconfig.integers("ch_mult", (1, 2, 4, 8))
    return VaeConfig(
        in_channels=ddconfig.integer("in_channels"),
        out_channels=ddconfig.integer("out_ch"),
        z_channels=channels,
        ch=width,
        ch_mult=mult,
        num_res_blocks=ddconfig.integer("num_res_blocks"),
        resolution=ddconfig.integer("resolution"),
        norm_num_groups=ddconfig.norm_group_count("ch", width, mult),
        scale_factor=model.number("scale_factor", 1.0),
        shift_factor=model.number("shift_factor", 0.0),
    )
