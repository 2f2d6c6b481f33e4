"""ARCHITECTURES: the networks that enlarge or repair images, detected by the names of their tensors.

They are those of spandrel 0.4.2, which runs them, in the order in which it looks for them; a test compares the two. The
table is needed because spandrel imports torch: a list of files must not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from modules.models.files.header import Header, TensorInfo

# Trainers wrap the tensors of a network; the first of these that is there counts, then the others within it.
_WRAPPERS = ("model_state_dict.", "state_dict.", "params_ema.", "params-ema.", "params.", "net.")
_COMMON_PREFIXES = ("module.", "netG.")
TileOptions = Literal["ESRGAN", "SWIN", "DAT", "SCUNET"]


@dataclass(frozen=True)
class Architecture:
    """One row of ARCHITECTURES.

    Args:
        name: Its id in spandrel.
        keys: A network is of it when it has all tensors of any of these.
        tile_options: Beginning of the names of the options for its tiles, A1111's.
        belongs: For a network that enlarges nothing: where it belongs, as the rest of a sentence.
    """

    name: str
    keys: tuple[tuple[str, ...], ...]
    tile_options: TileOptions = "ESRGAN"
    belongs: str = ""


_FACES = "is a restorer of faces, not an upscaler. It belongs in models/GFPGAN."
_BLOCK = "layers.0.residual_group.blocks.0."

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("Compact", (("body.0.weight", "body.1.weight"),)),
    Architecture("SwiftSRGAN", (("initial.cnn.depthwise.weight", "final_conv.pointwise.weight"),)),
    Architecture("HAT", (("conv_first.weight", _BLOCK + "conv_block.cab.0.weight"),)),
    Architecture(
        "GRL",
        tuple(
            (f"{prefix}layers.0.blocks.0.attn.stripe_attn.attn_transform1.logit_scale",)
            for prefix in ("", "model.", "model_g.")
        ),
    ),
    Architecture(
        "Swin2SR",
        (("patch_embed.proj.weight", _BLOCK + "attn.relative_position_index"),),
        "SWIN",
    ),
    Architecture(
        "SwinIR",
        (
            ("conv_first.weight", _BLOCK + "attn.relative_position_index"),
            ("conv_first.1.weight", _BLOCK + "attn.relative_position_index"),
        ),
        "SWIN",
    ),
    Architecture(
        "GFPGAN", (("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"),), belongs=_FACES
    ),
    Architecture(
        "RestoreFormer",
        (("quantize.embedding.weight", "encoder.down.0.block.0.norm1.weight"),),
        belongs=_FACES,
    ),
    Architecture(
        "LaMa",
        (("model.model.1.bn_l.running_mean",), ("generator.model.1.bn_l.running_mean",)),
        belongs="fills holes in pictures and enlarges nothing. Files of LaMa are not used in this version.",
    ),
    Architecture("OmniSR", (("residual_layer.0.residual_layer.0.layer.0.fn.0.weight",),)),
    Architecture("SCUNet", (("m_head.0.weight", "m_tail.0.weight"),), "SCUNET"),
    Architecture("FBCNN", (("m_head.weight", "qf_pred.0.res.0.weight"),)),
    Architecture(
        "Uformer", (("input_proj.proj.0.weight", "encoderlayer_0.blocks.0.norm1.weight"),)
    ),
    Architecture("RGT", (("before_RG.1.weight", "layers.0.blocks.0.gamma"),)),
    Architecture(
        "DAT",
        (("before_RG.1.weight", "layers.0.blocks.0.attn.channel_interaction.1.weight"),),
        "DAT",
    ),
    Architecture("CRAFT", (("layers.0.residual_group.hf_blocks.0.attn.temperature",),)),
    Architecture(
        "KBNet",
        (
            ("intro.weight", "encoders.0.0.attgamma"),
            (
                "patch_embed.proj.weight",
                "encoder_level3.0.ffn.project_out.weight",
                "latent.0.ffn.qkv.weight",
            ),
        ),
    ),
    Architecture("DITN", (("sft.weight", "UFONE.0.ITLs.0.attn.temperature"),)),
    Architecture("MMRealSR", (("am_list.0.fc.0.weight", "de_net.conv_first.0.weight"),)),
    Architecture("SPAN", (("conv_1.sk.weight", "block_1.c1_r.sk.weight"),)),
    Architecture("RealCUGAN", (("unet1.conv1.conv.0.weight", "unet2.conv_bottom.weight"),)),
    Architecture("SAFMN", (("to_feat.weight", "feats.0.safm.mfr.0.weight"),)),
    Architecture("SAFMNBCIE", (("to_feat.1.weight", "feats.0.layers.0.safm.mfr.0.weight"),)),
    Architecture("DCTLSA", (("fea_conv.weight", "c5.0.weight", "LR_conv.weight"),)),
    Architecture("FFTformer", (("patch_embed.proj.weight", "encoder_level1.0.ffn.fft"),)),
    Architecture("NAFNet", (("intro.weight", "middle_blks.0.sca.1.weight"),)),
    Architecture("ATD", (("conv_first.weight", "layers.0.residual_group.td"),)),
    Architecture("MixDehazeNet", (("patch_embed.proj.weight", "layer1.blocks.0.conv3_19.weight"),)),
    Architecture("DRUNet", (("m_head.weight", "m_body.0.res.0.weight", "m_up3.2.res.0.weight"),)),
    Architecture(
        "DnCNN",
        (
            tuple(
                f"model.{index}.{name}" for index in range(0, 15, 2) for name in ("weight", "bias")
            ),
            (
                "model.0.weight",
                "model.0.bias",
                "model.2.weight",
                "model.3.running_mean",
                "model.6.running_var",
            ),
        ),
    ),
    Architecture("IPT", (("sub_mean.weight", "body.encoder.layers.0.self_attn.in_proj_weight"),)),
    Architecture("DRCT", (("conv_first.weight", "layers.0.swin1.attn.qkv.weight"),)),
    Architecture(
        "ESRGAN",
        (
            ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
            ("conv_first.weight", "body.0.rdb1.conv1.weight"),
            ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"),
            ("model.0.weight", "model.1.sub.0.RDB1.conv1x1.weight"),
        ),
    ),
    Architecture(
        "PLKSR",
        tuple(
            ("feats.0.weight", f"feats.1.lk.{name}.weight")
            for name in ("conv", "convs.0", "mn_conv")
        ),
    ),
    Architecture("RetinexFormer", (("body.0.estimator.conv1.weight",),)),
    Architecture("HVICIDNet", (("HVE_block0.1.weight", "trans.density_k"),)),
    Architecture("SeemoRe", (("conv_1.weight", "body.0.local_block.block.conv_1.0.weight"),)),
    Architecture("MoSR", (("gblocks.0.weight", "gblocks.1.fc1.weight"),)),
    Architecture("MoESR", (("in_to_dim.weight", "upscale.MetaUpsample"),)),
    Architecture(
        "RCAN",
        tuple(
            (f"head.{index}.weight", "tail.1.weight", "body.0.body.0.body.3.conv_du.0.weight")
            for index in (0, 1)
        ),
    ),
    Architecture("FDAT", (("groups.0.blocks.0.attn.bias", "upsampler.MetaUpsample"),)),
    Architecture(
        "AuraSR", (("mid_attn.layers.0.0.to_out.weight", "mid_block2.block1.proj.weights"),)
    ),
)


def network_prefix(names: Collection[str]) -> str:
    """Return the prefix of the network's tensor names in a file, "" for none.

    A trainer's file may hold the network twice; the moving average (EMA) is preferred.
    """
    prefix = next(
        (wrapper for wrapper in _WRAPPERS if any(name.startswith(wrapper) for name in names)), ""
    )
    inner = [name for name in names if name.startswith(prefix)]
    for common in _COMMON_PREFIXES:
        if inner and all(name.startswith(prefix + common) for name in inner):
            prefix += common
    return prefix


def get_architecture(name: str) -> Architecture:
    """Return the row of a name."""
    return next(row for row in ARCHITECTURES if row.name == name)


def detect_architecture(header: Header) -> Architecture | None:
    """Return the architecture of the network in a file, None for an unknown one."""
    return find_architecture(header.tensors)


def find_architecture(tensors: Mapping[str, TensorInfo]) -> Architecture | None:
    """Return the architecture of the network that a file's tensors make, None for an unknown one."""
    prefix = network_prefix(tensors)

    def matches(row: Architecture) -> bool:
        return any(all(prefix + key in tensors for key in keys) for keys in row.keys)

    return next(filter(matches, ARCHITECTURES), None)


def find_error(architecture: Architecture | None) -> str:
    """Return why a network is no upscaler, as the rest of a sentence that begins with its file's name, or ""."""
    if architecture is None:
        return "is no upscaler of a known architecture. Those of ESRGAN, Compact, SwinIR, DAT, HAT and 34 more can be used."
    return architecture.belongs
