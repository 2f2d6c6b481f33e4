"""Loads a checkpoint file and its .yaml into components. Never contacts a hub, never runs a pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import DPTForDepthEstimation

from modules.backend.components import Components, Precision
from modules.backend.loading import empty_models
from modules.backend.loading.depth_keys import UNUSED_KEYS, depth_key
from modules.backend.loading.ldm_keys import (
    TEXT_ENCODER_KEYS,
    TextEncoderKey,
    unet_key,
    vae_key,
)
from modules.backend.loading.prediction_probe import probe_prediction_type
from modules.backend.loading.state_dict import read_state_dict, to_aligned
from modules.backend.loading.weight_loader import StateDictSource, WeightLoader
from modules.core.errors import BadFile, Unsupported, UserError
from modules.models.families import detect_family, find_error, make_family_registry
from modules.models.file_cache import PredictionType
from modules.models.files.header import Header, read_header
from modules.models.ldm.config import ModelConfig, TextEncoderSource, read_config
from modules.models.ldm.depth import DepthConfig
from modules.models.ldm.keys import (
    COND_STAGE_PREFIX,
    DEPTH_PREFIX,
    OPEN_CLIP_PREFIX,
    UNET_PREFIX,
    VAE_DECODER_INPUT_KEY,
    VAE_PREFIX,
    find_key,
)
from modules.models.ldm.text_encoder import TextConfig
from modules.models.ldm.text_encoder_layouts import (
    OPEN_CLIP_KIND,
    TEXT_ENCODER_LAYOUTS,
    TextEncoderLayout,
    detect_text_encoder_layout,
)

CPU = torch.device("cpu")
# Left in checkpoints by training or by other programs; not needed to generate images.
_IGNORED_KEYS = (
    r"model_ema\..*|.*\.position_ids|.*\.loss\..*|loss\..*|logvar|scale_factor|lvlb_weights|betas|alphas_cumprod.*"
    r"|sqrt_.*|log_one_minus_.*|posterior_.*|.*logit_scale|.*text_projection.*|.*visual_projection.*"
    r"|.*vision_model\..*|embedding_manager\..*|denoiser\..*|global_step|.*\.model_ema\..*"
    rf"|{re.escape(OPEN_CLIP_PREFIX)}attn_mask|{UNUSED_KEYS}"
)
_COMPONENT_PREFIXES = (
    UNET_PREFIX,
    VAE_PREFIX,
    COND_STAGE_PREFIX + "transformer.",
    OPEN_CLIP_PREFIX,
    DEPTH_PREFIX,
)
_VAE_FAMILY = "VAE"  # its row of FAMILIES
# By LDM's parameterization.
_PREDICTION_TYPES: dict[str, PredictionType] = {"eps": "epsilon", "v": "v_prediction"}


@dataclass(frozen=True)
class LoadOptions:
    """Options of loading, in addition to the file and its .yaml.

    Args:
        prediction: Overrides the .yaml; "probe" determines it by an evaluation of the network.
        vae: A separate VAE file; None uses the checkpoint's VAE.
        text_encoder: Likewise a file with a text encoder, alone or in a whole checkpoint.
        use_ema: Whether to use the EMA weights if the file has them.
        device: Of the components.
        text_encoder_layouts: All layouts of text encoders in files.
        text_encoder_keys: By the prefix of a layout: from a key of transformers' CLIP to the key in the file.
    """

    prediction: PredictionType | Literal["probe"] | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    use_ema: bool = False
    device: torch.device = CPU
    text_encoder_layouts: tuple[TextEncoderLayout, ...] = TEXT_ENCODER_LAYOUTS
    text_encoder_keys: Mapping[str, TextEncoderKey] = field(
        default_factory=lambda: TEXT_ENCODER_KEYS, compare=False
    )


DEFAULT_LOAD_OPTIONS = LoadOptions()


def load_components(
    path: Path, config: Path, precision: Precision, options: LoadOptions = DEFAULT_LOAD_OPTIONS
) -> Components:
    """Return the components of a checkpoint file.

    Weights that already have the right dtype stay mapped: the file must not be overwritten in place while in use.

    Args:
        path: A .safetensors or .ckpt file in LDM's layout; its content decides, not its extension.
        config: The .yaml that describes it.
        precision: Dtype of each component; weights are converted as they are read, not after loading.
        options: In addition to the two files.

    Raises:
        NotFound: one of the files is missing.
        BadFile: the checkpoint is damaged, unsafe, or lacks weights.
        Unsupported: its kind of model does not run here.
        UserError: the .yaml is invalid or describes another model.
    """
    checkpoint = validate_checkpoint(path, config, options)
    state_dict = read_state_dict(path, checkpoint.header)
    if options.vae is not None:
        state_dict = state_dict.without_prefix(VAE_PREFIX)
    if options.text_encoder is not None:
        state_dict = state_dict.without_prefix(COND_STAGE_PREFIX)
    components = build_components(
        state_dict, checkpoint.config, precision, path.name, checkpoint.family, options
    )
    if options.prediction == "probe":
        prediction_type = probe_prediction_type(components.unet)
        components = replace(components, prediction_type=prediction_type)
    return components


@dataclass(frozen=True)
class ValidatedCheckpoint:
    """A checkpoint whose header matches its .yaml.

    Args:
        header: Of the file.
        family: Name of its row of FAMILIES.
        config: The parsed .yaml.
    """

    header: Header
    family: str
    config: ModelConfig


def validate_checkpoint(
    path: Path, config: Path, options: LoadOptions = DEFAULT_LOAD_OPTIONS
) -> ValidatedCheckpoint:
    """Check headers and .yaml before any weight is read, and return them.

    Raises:
        NotFound: one of the files is missing.
        BadFile: the checkpoint is damaged, unsafe, or lacks a component.
        Unsupported: its kind of model does not run here.
        UserError: the .yaml is invalid or describes another model, or the VAE or text encoder file contains none.
    """
    header = read_header(path)
    family = detect_family(header, make_family_registry())
    error = find_error(header, family)
    if error or family is None:
        error_class = Unsupported if family is None or family.error else BadFile
        raise error_class(f"'{path.name}' {error}")
    if options.vae is not None:
        _validate_vae(options.vae)
    elif find_key(header.tensors, VAE_DECODER_INPUT_KEY) is None:
        raise BadFile(
            f"'{path.name}' lacks its VAE.", "Put one into models/VAE and choose it on the page."
        )
    text_encoder = None
    if options.text_encoder is not None:
        text_encoder = _read_text_encoder_source(options.text_encoder, options)
    elif detect_text_encoder_layout(header.tensors, options.text_encoder_layouts) is None:
        raise BadFile(f"'{path.name}' lacks its text encoder.", "Put one into models/text_encoder.")
    model_config = read_config(
        config, header, path.name, text_encoder, options.text_encoder_layouts
    )
    return ValidatedCheckpoint(header, family.name, model_config)


def build_components(
    state_dict: Mapping[str, Tensor],
    config: ModelConfig,
    precision: Precision,
    name: str,
    family: str,
    options: LoadOptions = DEFAULT_LOAD_OPTIONS,
) -> Components:
    """Return the components of a state dict in LDM's layout.

    Args:
        state_dict: On any device, `meta` included; tensors that already have the right dtype are not copied.
        config: The parsed .yaml.
        precision: Dtype of each component.
        name: The checkpoint's, for messages.
        family: Name of its row of FAMILIES.
        options: In addition to the file.

    Raises:
        BadFile: weights are missing.
        UserError: the .yaml describes other weights.
    """
    loader = WeightLoader(
        StateDictSource(state_dict, name, config.file, options.use_ema), options.device
    )
    text = config.text_encoder
    is_half = precision.unet == torch.float16
    unet = loader.load_into(
        empty_models.make_empty_unet(
            config.unet, upcast_attention=is_half and text.layout.kind == OPEN_CLIP_KIND
        ),
        lambda key: unet_key(key, config.unet),
        precision.unet,
    )
    vae_loader = loader
    if options.vae is not None:
        vae_loader = _make_file_loader(options.vae, config, options.device)
    vae = vae_loader.load_into(
        empty_models.make_empty_vae(config.vae),
        lambda key: vae_key(key, len(config.vae.ch_mult)),
        precision.vae,
    )
    text_loader = loader
    if options.text_encoder is not None:
        text_loader = _make_file_loader(options.text_encoder, config, options.device)
    text_encoder = text_loader.load_into(
        empty_models.make_empty_text_encoder(text),
        options.text_encoder_keys[text.layout.prefix],
        precision.text_encoder,
    )
    depth_estimator = None
    if config.depth is not None:
        empty_estimator = _make_empty_depth_estimator(state_dict, config.depth, name)
        depth_estimator = loader.load_into(empty_estimator, depth_key, precision.vae)
    ignored = re.compile("|".join([_IGNORED_KEYS, *_skipped_layer_patterns(text)]))
    loader.check_unused_keys(_COMPONENT_PREFIXES, ignored)
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        alphas_cumprod=_alphas_cumprod(state_dict, config),
        prediction_type=_PREDICTION_TYPES[config.parameterization]
        if options.prediction in (None, "probe")
        else options.prediction,
        family=family,
        pad_token_id=text.layout.pad_token_id,
        depth_estimator=depth_estimator,
    )


def _make_empty_depth_estimator(
    state_dict: Mapping[str, Tensor], config: DepthConfig, name: str
) -> DPTForDepthEstimation:
    try:
        return empty_models.make_empty_depth_estimator(state_dict, config)
    except KeyError as error:
        raise BadFile(
            f"The depth estimator of '{name}' lacks {error}.", "Download the full file."
        ) from error


def _make_file_loader(path: Path, config: ModelConfig, device: torch.device) -> WeightLoader:
    """Return the loader for a component in a separate file."""
    return WeightLoader(
        StateDictSource(read_state_dict(path, read_header(path)), path.name, config.file), device
    )


def _read_text_encoder_source(path: Path, options: LoadOptions) -> TextEncoderSource:
    """Return the header of a separate text encoder file."""
    header = read_header(path)
    if detect_text_encoder_layout(header.tensors, options.text_encoder_layouts) is None:
        raise UserError(
            f"'{path.name}' is no text encoder{_detected_kind(header)}.",
            "Remove it from models/text_encoder.",
        )
    return TextEncoderSource(header, path.name)


def _validate_vae(path: Path) -> None:
    header = read_header(path)
    family = detect_family(header, make_family_registry())
    if family is None or family.name != _VAE_FAMILY:
        raise UserError(
            f"'{path.name}' is no VAE{_detected_kind(header)}.", "Choose another VAE, or None."
        )


def _detected_kind(header: Header) -> str:
    """Return the detected kind of a wrong file, as the rest of a sentence."""
    family = detect_family(header, make_family_registry())
    return f", but of the kind {family.name}" if family else ", nor any other model known here"


def _skipped_layer_patterns(text: TextConfig) -> list[str]:
    """Return a pattern for each of the text encoder's last layers that the file has but the model skips."""
    first = text.num_hidden_layers
    return [
        rf"{re.escape(text.layout.layers_prefix)}{first + number}\..*"
        for number in range(text.skipped_layer_count)
    ]


def _alphas_cumprod(state_dict: Mapping[str, Tensor], config: ModelConfig) -> Tensor:
    """Return the file's noise schedule, which LDM prefers too, else the one of the .yaml.

    LDM's "linear" is linear in the square root of beta (make_beta_schedule), diffusers' "scaled_linear".
    """
    stored = state_dict.get("alphas_cumprod")
    if stored is not None and stored.shape == (config.timesteps,):
        stored = to_aligned(stored).double()
        if bool((stored[1:] < stored[:-1]).all()) and stored[-1] > 0 and stored[0] < 1:
            return stored.clone()
    start, end = config.linear_start**0.5, config.linear_end**0.5
    betas = torch.linspace(start, end, config.timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)
