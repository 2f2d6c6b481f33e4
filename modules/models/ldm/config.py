"""Reads the LDM .yaml of a checkpoint and checks it against the tensors. No `target` is ever instantiated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.models.files.header import Header
from modules.models.ldm.depth import DepthConfig, read_depth_config
from modules.models.ldm.keys import (
    UNET_CONTEXT_KEY,
    UNET_INPUT_KEY,
    UNET_LABEL_KEY,
    UNET_PREFIX,
    VAE_DECODER_INPUT_KEY,
    VAE_ENCODER_INPUT_KEY,
    VAE_PREFIX,
    count_submodules,
    find_key,
)
from modules.models.ldm.noise_schedule import NoiseScheduleConfig, read_noise_schedule
from modules.models.ldm.text_encoder import TextConfig, read_text_config
from modules.models.ldm.text_encoder_layouts import (
    COND_STAGE_SLOT,
    TextEncoderSlot,
    detect_text_encoder_layout,
)
from modules.models.ldm.unet import UNetConfig, read_unet_config
from modules.models.ldm.vae import VaeConfig, read_vae_config
from modules.models.ldm.yaml import YamlSection, read_yaml

OWN_FOLDER = (
    Path(__file__).resolve().parents[3] / "configs"
)  # what the program itself brings, a .yaml for each family


@dataclass(frozen=True)
class ModelConfig:
    """All networks of a checkpoint, and its noise schedule.

    Args:
        noise_schedule: Which it was trained on, and what the UNet predicts.
        file: The .yaml it was read from.
        depth: None for a checkpoint without a depth estimator.
    """

    unet: UNetConfig
    vae: VaeConfig
    text_encoders: tuple[TextConfig, ...]
    noise_schedule: NoiseScheduleConfig
    file: Path
    depth: DepthConfig | None = None


@dataclass(frozen=True)
class TextEncoderSource:
    """A file that contains a text encoder.

    Args:
        header: Its header.
        name: Its name, for error messages.
        slot: The place of the text encoder in the file.
    """

    header: Header
    name: str
    slot: TextEncoderSlot = COND_STAGE_SLOT


def wrong_yaml_hint(file: Path) -> str:
    """Return what to do when a .yaml does not describe a checkpoint; the program's own ones are not to be removed."""
    if file.resolve().parent == OWN_FOLDER:
        return "The checkpoint differs from the usual ones: put the .yaml that came with it beside it, under its name."
    return "The .yaml belongs to another model: remove it or get the right one."


def read_config(
    file: Path,
    header: Header,
    checkpoint_name: str,
    text_encoders: Sequence[TextEncoderSource] = (),
) -> ModelConfig:
    """Return the config of a checkpoint.

    Args:
        file: The checkpoint's own .yaml or the one of its family.
        header: The checkpoint's header.
        checkpoint_name: Its name, for error messages.
        text_encoders: The file of each text encoder, in the order of the family; the checkpoint by default.

    Raises:
        NotFound: there is no such .yaml.
        UserError: it is invalid, incomplete, or does not match the tensors.
        Unsupported: it requires something that is not implemented here.
    """
    params = read_yaml(file).section("model").section("params")
    if not params.values:
        raise UserError(f"'{file}' lacks model.params: it does not describe an LDM checkpoint.")
    params.require_supported({"beta_schedule": ("linear",)})
    sources = text_encoders or (TextEncoderSource(header, checkpoint_name),)
    for source in sources:
        _check_text_encoder_kind(params, source)
    config = ModelConfig(
        unet=read_unet_config(params),
        vae=read_vae_config(params),
        text_encoders=tuple(
            read_text_config(params, source.header, source.slot) for source in sources
        ),
        noise_schedule=read_noise_schedule(params),
        file=file,
        depth=read_depth_config(params, header),
    )
    _check_sizes(config, header, checkpoint_name)
    for text, source in zip(config.text_encoders, sources, strict=True):
        _check_text_encoder_sizes(config, text, source)
    _check_context_width(config, sources)
    _check_counts(config, header, checkpoint_name)
    return config


def _check_text_encoder_kind(params: YamlSection, source: TextEncoderSource) -> None:
    target = params.at(source.slot.config_path).string("target", "").rpartition(".")[2]
    target = target.rstrip("0123456789")  # FrozenOpenCLIPEmbedder2 is that of SDXL
    described = next((row for row in source.slot.layouts if row.embedder_class == target), None)
    actual = detect_text_encoder_layout(source.header.tensors, source.slot)
    if described is not None and actual is not None and described.kind != actual.kind:
        text = f"'{params.file}' describes the text encoder {described.kind}, but '{source.name}' has {actual.kind}."
        raise UserError(text, wrong_yaml_hint(params.file))


def _check_sizes(config: ModelConfig, header: Header, checkpoint: str) -> None:
    """Compare the sizes that have a key in the .yaml; the loader compares every tensor later."""
    unet, vae = config.unet, config.vae
    expected = (
        ("in_channels", unet.in_channels, UNET_INPUT_KEY, 1),
        ("model_channels", unet.model_channels, UNET_INPUT_KEY, 0),
        ("out_channels", unet.out_channels, UNET_PREFIX + "out.2.weight", 0),
        ("context_dim", unet.context_dim, UNET_CONTEXT_KEY, 1),
        ("adm_in_channels", unet.adm_in_channels, UNET_LABEL_KEY, 1),
        ("ddconfig.z_channels", vae.z_channels, VAE_DECODER_INPUT_KEY, 1),
        ("ddconfig.ch", vae.ch, VAE_ENCODER_INPUT_KEY, 0),
        ("ddconfig.in_channels", vae.in_channels, VAE_ENCODER_INPUT_KEY, 1),
        ("ddconfig.out_ch", vae.out_channels, VAE_PREFIX + "decoder.conv_out.weight", 0),
    )
    for key, value, name, axis in expected:
        tensor_key = find_key(header.tensors, name)
        shape = header.tensors[tensor_key].shape if tensor_key else ()
        if axis < len(shape):
            _check(config, checkpoint, key, value, shape[axis])


def _check_text_encoder_sizes(
    config: ModelConfig, text: TextConfig, source: TextEncoderSource
) -> None:
    tensors = source.header.tensors
    embedding_key = find_key(tensors, text.layout.token_embedding_key)
    vocab_size, width = tensors[embedding_key].shape if embedding_key else (0, 0)
    layer_count = text.num_hidden_layers + text.skipped_layer_count
    _check(config, source.name, "text_config.hidden_size", text.hidden_size, width)
    _check(config, source.name, "text_config.vocab_size", text.vocab_size, vocab_size)
    actual = count_submodules(tensors, text.layout.layers_prefix)
    _check(config, source.name, "text_config.num_hidden_layers", layer_count, actual)


def _check_context_width(config: ModelConfig, sources: Sequence[TextEncoderSource]) -> None:
    """Compare what the UNet attends to with the joined hidden states of all text encoders."""
    context_dim = config.unet.context_dim
    width = sum(text.hidden_size for text in config.text_encoders)
    if context_dim != width:
        raise UserError(
            f"'{config.file}' says context_dim {context_dim}, "
            f"but the text encoder of '{sources[-1].name}' gives {width}."
        )


def _check_counts(config: ModelConfig, header: Header, checkpoint: str) -> None:
    """Compare the numbers of submodules, before any of them is constructed."""
    unet, vae = config.unet, config.vae
    input_blocks = len(unet.channel_mult) * (unet.num_res_blocks + 1)
    expected = (
        (
            "channel_mult and num_res_blocks for input blocks:",
            input_blocks,
            UNET_PREFIX + "input_blocks.",
        ),
        (
            "transformer_depth",
            unet.transformer_depth[-1],
            UNET_PREFIX + "middle_block.1.transformer_blocks.",
        ),
        ("ddconfig.ch_mult of length", len(vae.ch_mult), VAE_PREFIX + "decoder.up."),
        ("ddconfig.num_res_blocks", vae.num_res_blocks, VAE_PREFIX + "encoder.down.0.block."),
    )
    for key, value, prefix in expected:
        actual = count_submodules(header.tensors, prefix)
        if actual:  # LitEma's names have no dots, so they cannot be counted
            _check(config, checkpoint, key, value, actual)


def _check(config: ModelConfig, checkpoint: str, key: str, value: int, actual: int) -> None:
    if value != actual:
        text = f"'{config.file}' says {key} {value}, but '{checkpoint}' has {actual}."
        raise UserError(text, wrong_yaml_hint(config.file))
