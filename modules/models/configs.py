"""What an LDM .yaml says about a checkpoint, checked against its tensors. No `target` is ever instantiated.

Keys mean what they mean in LDM (github.com/CompVis/stable-diffusion, ldm/modules/diffusionmodules/openaimodel.py
and model.py). Two are this project's own: `norm_num_groups` of the UNet and of ddconfig, and `text_config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import Unsupported, UserError
from modules.core.registry import did_you_mean
from modules.models.families import TEXT, UNET, UNET_CONTEXT, UNET_INPUT, VAE, actual_name
from modules.models.header import Header
from modules.models.text_config import TextConfig, read_text_config
from modules.models.yaml_section import Section, read_section

# What other values of these keys ask for is not built here.
UNET_FIXED = {
    "dims": (2,),
    "conv_resample": (True,),
    "use_spatial_transformer": (True,),
    "use_scale_shift_norm": (False,),
    "resblock_updown": (False,),
    "use_new_attention_order": (False,),
    "num_classes": (),
    "n_embed": (),
    "disable_self_attentions": (),
    "num_attention_blocks": (),
    "disable_middle_self_attn": (False,),
}
# These change nothing in what the network computes.
UNET_IGNORED = {
    "image_size",
    "use_checkpoint",
    "use_fp16",
    "use_bf16",
    "dropout",
    "num_heads_upsample",
    "legacy",
}
UNET_READ = {
    *(
        "in_channels",
        "out_channels",
        "model_channels",
        "channel_mult",
        "num_res_blocks",
        "num_heads",
    ),
    *(
        "attention_resolutions",
        "num_head_channels",
        "use_linear_in_transformer",
        "transformer_depth",
    ),
    *("context_dim", "norm_num_groups"),
}


@dataclass(frozen=True)
class UNetConfig:
    """The denoising network, in LDM's terms.

    Args:
        channel_mult: Channels of each level, as multiples of model_channels.
        attention: Whether each level attends.
        num_heads: Attention heads of each level.
        transformer_depth: Transformer blocks of each level.
        use_linear: Whether the transformers' projections are linear layers, not 1x1 convolutions.
        image_size: Width and height of the latents it was trained on.
    """

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    attention: tuple[bool, ...]
    num_heads: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    context_dim: int
    use_linear: bool
    norm_num_groups: int
    image_size: int


@dataclass(frozen=True)
class VaeConfig:
    """The autoencoder between pixels and latents, in LDM's terms."""

    in_channels: int
    out_channels: int
    z_channels: int
    ch: int
    ch_mult: tuple[int, ...]
    num_res_blocks: int
    resolution: int
    norm_num_groups: int
    scale_factor: float


@dataclass(frozen=True)
class ModelConfig:
    """A whole checkpoint, and the noise it was trained with.

    Args:
        parameterization: "eps" or "v", as LDM spells it.
        file: The .yaml it was read from.
    """

    unet: UNetConfig
    vae: VaeConfig
    text: TextConfig
    linear_start: float
    linear_end: float
    timesteps: int
    parameterization: str
    file: Path


def read_config(file: Path, header: Header, checkpoint: str) -> ModelConfig:
    """Return what a .yaml says about a checkpoint.

    Args:
        file: The checkpoint's own .yaml or the one of its family.
        header: The checkpoint's tensors.
        checkpoint: Its name, for messages.

    Raises:
        NotFound: there is no such .yaml.
        UserError: it is broken, incomplete, or speaks of another model than the tensors.
        Unsupported: it asks for something that is not built here.
    """
    params = read_section(file).section("model").section("params")
    if not params.values:
        raise UserError(
            f"'{file}' lacks model.params: it is not the description of an LDM checkpoint."
        )
    _check_fixed(params, {"beta_schedule": ("linear",), "parameterization": ("eps", "v")})
    config = ModelConfig(
        unet=_read_unet(params.section("unet_config").section("params"), params),
        vae=_read_vae(params),
        text=read_text_config(params.section("cond_stage_config"), header),
        linear_start=params.number("linear_start", 1e-4),
        linear_end=params.number("linear_end", 2e-2),
        timesteps=params.integer("timesteps", 1000),
        parameterization=params.text("parameterization", "eps"),
        file=file,
    )
    _check_noise(config)
    _check_tensors(config, header, checkpoint)
    return config


def _read_unet(params: Section, model: Section) -> UNetConfig:
    _check_fixed(params, UNET_FIXED)
    unknown = set(params.values) - UNET_READ - UNET_IGNORED - set(UNET_FIXED)
    if unknown:
        key = min(unknown)
        hint = did_you_mean(key, sorted(UNET_READ))
        raise UserError(f"'{params.file}' has the unknown key {params.key}.{key}.", hint)
    width = params.integer("model_channels")
    mult = params.integers("channel_mult", (1, 2, 4, 8))
    levels = range(len(mult))
    resolutions = params.integers("attention_resolutions")
    depth = params.integers("transformer_depth", (1,))
    groups = params.integer("norm_num_groups", 32)
    if len(depth) not in (1, len(mult)):
        raise params.wrong("transformer_depth", f"one number or {len(mult)}")
    if groups < 1 or width < 1 or min(mult, default=0) < 1 or any(width * m % groups for m in mult):
        raise params.wrong(
            "norm_num_groups" if "norm_num_groups" in params.values else "model_channels",
            f"such that {groups} groups divide the channels of each level",
        )
    return UNetConfig(
        in_channels=params.integer("in_channels"),
        out_channels=params.integer("out_channels"),
        model_channels=width,
        channel_mult=mult,
        num_res_blocks=params.integer("num_res_blocks"),
        attention=tuple(2**level in resolutions for level in levels),
        num_heads=tuple(_head_count(params, width * m) for m in mult),
        transformer_depth=depth * len(mult) if len(depth) == 1 else depth,
        context_dim=params.integers("context_dim", (768,))[0],
        use_linear=params.flag("use_linear_in_transformer", default=False),
        norm_num_groups=groups,
        # The published .yaml files give 32 here, which nothing reads, and the true size one level up.
        image_size=model.integer("image_size", params.integer("image_size", 64)),
    )


def _head_count(params: Section, channels: int) -> int:
    """Return the heads of a level: num_head_channels wins over num_heads, legacy or not."""
    width = params.integer("num_head_channels", -1)
    heads = (
        params.integer("num_heads", -1) if width == -1 else channels // width if width > 0 else 0
    )
    if heads < 1 or channels % heads or (width > 0 and channels % width):
        key = "num_heads" if width == -1 else "num_head_channels"
        raise params.wrong(key, f"a divisor of the level's {channels} channels")
    return heads


def _read_vae(model: Section) -> VaeConfig:
    params = model.section("first_stage_config").section("params")
    ddconfig = params.section("ddconfig")
    _check_fixed(
        ddconfig, {"double_z": (True,), "resamp_with_conv": (True,), "attn_type": ("vanilla",)}
    )
    channels = ddconfig.integer("z_channels")
    if params.integer("embed_dim", channels) != channels:
        raise Unsupported(
            f"'{params.file}' gives an embed_dim other than z_channels, which is not supported."
        )
    if ddconfig.integers("attn_resolutions", ()):
        raise Unsupported(
            f"'{params.file}' gives {ddconfig.key}.attn_resolutions, which is not supported."
        )
    width, mult = ddconfig.integer("ch"), ddconfig.integers("ch_mult", (1, 2, 4, 8))
    groups = ddconfig.integer("norm_num_groups", 32)
    if groups < 1 or width < 1 or min(mult, default=0) < 1 or any(width * m % groups for m in mult):
        raise ddconfig.wrong(
            "norm_num_groups" if "norm_num_groups" in ddconfig.values else "ch",
            f"such that {groups} groups divide the channels of each level",
        )
    return VaeConfig(
        in_channels=ddconfig.integer("in_channels"),
        out_channels=ddconfig.integer("out_ch"),
        z_channels=channels,
        ch=width,
        ch_mult=mult,
        num_res_blocks=ddconfig.integer("num_res_blocks"),
        resolution=ddconfig.integer("resolution"),
        norm_num_groups=groups,
        scale_factor=model.number("scale_factor", 1.0),
    )


def _check_fixed(section: Section, fixed: dict[str, tuple[object, ...]]) -> None:
    for key, accepted in fixed.items():
        value = section.values.get(key)
        if value is not None and value not in accepted:
            raise Unsupported(
                f"'{section.file}' gives {section.key}.{key} as {value!r}, which is not supported."
            )


def _check_noise(config: ModelConfig) -> None:
    if not 0 < config.linear_start < config.linear_end < 1:
        found = f"{config.linear_start} and {config.linear_end}"
        raise UserError(
            f"In '{config.file}', linear_start and linear_end should rise between 0 and 1, not {found}."
        )
    if not 1 < config.timesteps <= 100_000:
        raise UserError(
            f"In '{config.file}', timesteps should be between 2 and 100000, not {config.timesteps}."
        )


def _check_tensors(config: ModelConfig, header: Header, checkpoint: str) -> None:
    """Compare the sizes a user would name; the loader compares every tensor later."""
    unet, vae, text = config.unet, config.vae, config.text
    expected = (
        ("in_channels", unet.in_channels, UNET_INPUT, 1),
        ("model_channels", unet.model_channels, UNET_INPUT, 0),
        ("out_channels", unet.out_channels, UNET + "out.2.weight", 0),
        ("context_dim", unet.context_dim, UNET_CONTEXT, 1),
        ("ddconfig.z_channels", vae.z_channels, VAE + "decoder.conv_in.weight", 1),
        ("ddconfig.ch", vae.ch, VAE + "encoder.conv_in.weight", 0),
        ("ddconfig.in_channels", vae.in_channels, VAE + "encoder.conv_in.weight", 1),
        ("ddconfig.out_ch", vae.out_channels, VAE + "decoder.conv_out.weight", 0),
        (
            "text_config.hidden_size",
            text.hidden_size,
            TEXT + "embeddings.token_embedding.weight",
            1,
        ),
        ("text_config.vocab_size", text.vocab_size, TEXT + "embeddings.token_embedding.weight", 0),
    )
    for key, value, name, axis in expected:
        actual = actual_name(header.tensors, name)
        shape = header.tensors[actual].shape if actual else ()
        if axis < len(shape) and shape[axis] != value:
            text_ = f"'{config.file}' says {key} {value}, but '{checkpoint}' has {shape[axis]} ({actual})."
            raise UserError(
                text_, "The .yaml belongs to another model: remove it or get the right one."
            )
    if unet.context_dim != text.hidden_size:
        raise UserError(
            f"'{config.file}' says context_dim {unet.context_dim}, "
            f"but the text encoder of '{checkpoint}' gives {text.hidden_size}."
        )
