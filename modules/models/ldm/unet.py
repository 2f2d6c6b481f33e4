"""The UNet that an LDM .yaml describes.

Keys have the meaning they have for UNetModel in LDM (github.com/CompVis/stable-diffusion,
ldm/modules/diffusionmodules/openaimodel.py). `norm_num_groups` is a key of this project.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.models.ldm.yaml import YamlSection

USED_KEYS = frozenset(
    [
        "in_channels",
        "out_channels",
        "model_channels",
        "channel_mult",
        "num_res_blocks",
        "attention_resolutions",
        "num_heads",
        "num_head_channels",
        "use_linear_in_transformer",
        "transformer_depth",
        "context_dim",
        "norm_num_groups",
        "image_size",
        "adm_in_channels",
    ]
)
# These do not change the output of the network.
IGNORED_KEYS = frozenset(
    [
        "use_checkpoint",
        "use_fp16",
        "use_bf16",
        "dropout",
        "num_heads_upsample",
        "legacy",
        "spatial_transformer_attn_type",
    ]
)
# Other values of these keys are not implemented here.
SUPPORTED_VALUES = {
    "dims": (2,),
    "conv_resample": (True,),
    "use_spatial_transformer": (True,),
    "use_scale_shift_norm": (False,),
    "resblock_updown": (False,),
    "use_new_attention_order": (False,),
    "disable_middle_self_attn": (False,),
    "disable_self_attentions": (),
    "num_attention_blocks": (),
    "num_classes": ("sequential",),
    "n_embed": (),
}


@dataclass(frozen=True)
class UNetConfig:
    """The UNet, in LDM's terms.

    Args:
        channel_mult: Channels of each level, as multiples of model_channels.
        has_attention: Whether each level has attention.
        num_heads: Attention heads of each level; 1 for a level without attention.
        transformer_depth: Transformer blocks of each level.
        use_linear_in_transformer: Whether the transformers' projections are linear layers, not 1x1 convolutions.
        image_size: Width and height of the latents it was trained on.
        adm_in_channels: Width of the vector of pooled text and sizes that it gets with the timestep; 0 without one.
    """

    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    has_attention: tuple[bool, ...]
    num_heads: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    context_dim: int
    use_linear_in_transformer: bool
    norm_num_groups: int
    image_size: int
    adm_in_channels: int = 0


def read_unet_config(model: YamlSection) -> UNetConfig:
    """Return the UNet that the .yaml describes.

    Args:
        model: `model.params` of the .yaml.

    Raises:
        UserError: a key is missing, unknown or has an invalid value.
        Unsupported: a key requires something that is not implemented here.
    """
    # generative-models, the code of SDXL, has another name for it.
    is_sgm = "network_config" in model.values
    params = model.section("network_config" if is_sgm else "unet_config").section("params")
    params.require_supported(SUPPORTED_VALUES)
    _check_keys(params)
    width = params.integer("model_channels")
    mult = params.integers("channel_mult", (1, 2, 4, 8))
    resolutions = params.integers("attention_resolutions")
    depth = params.integers("transformer_depth", (1,))
    if len(depth) not in (1, len(mult)):
        raise params.invalid_value("transformer_depth", f"one number or {len(mult)}")
    attention = tuple(2**level in resolutions for level in range(len(mult)))
    # The middle block has the last level's width and always has attention.
    needs_heads = (*attention[:-1], True)[: len(mult)]
    return UNetConfig(
        in_channels=params.integer("in_channels"),
        out_channels=params.integer("out_channels"),
        model_channels=width,
        channel_mult=mult,
        num_res_blocks=params.integer("num_res_blocks"),
        has_attention=attention,
        num_heads=tuple(
            _head_count(params, width * factor) if needed else 1
            for factor, needed in zip(mult, needs_heads, strict=True)
        ),
        transformer_depth=depth * len(mult) if len(depth) == 1 else depth,
        context_dim=params.integers("context_dim", (768,))[0],
        use_linear_in_transformer=params.boolean("use_linear_in_transformer", default=False),
        norm_num_groups=params.norm_group_count("model_channels", width, mult),
        # The published .yaml files say 32 in unet_config, which nothing reads, and the true size in model.params.
        image_size=model.integer("image_size", params.integer("image_size", 64)),
        adm_in_channels=_adm_width(params),
    )


def _adm_width(params: YamlSection) -> int:
    if params.string("num_classes", "") != "sequential":
        return 0
    width = params.integer("adm_in_channels")
    if width < 1:
        raise params.invalid_value("adm_in_channels", "at least 1")
    return width


def _check_keys(params: YamlSection) -> None:
    unknown = set(params.values) - USED_KEYS - IGNORED_KEYS - set(SUPPORTED_VALUES)
    if unknown:
        key = min(unknown)
        text = f"'{params.file}' has the unknown key {params.key_path}.{key}."
        raise UserError(text, did_you_mean(key, sorted(USED_KEYS)))


def _head_count(params: YamlSection, channels: int) -> int:
    """Return the attention heads of a level: num_head_channels takes precedence over num_heads, legacy or not."""
    key = "num_heads" if params.integer("num_head_channels", -1) == -1 else "num_head_channels"
    value = params.integer(key, -1)
    if value < 1 or channels % value:
        raise params.invalid_value(key, f"a divisor of the level's {channels} channels")
    return value if key == "num_heads" else channels // value
