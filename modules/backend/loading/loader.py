"""Checkpoint file and .yaml to UNet, VAE, text encoder and depth estimator. Never asks a hub, never runs a pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import DPTForDepthEstimation

from modules.backend.components import Components, Precision
from modules.backend.loading import empty_models
from modules.backend.loading.depth_keys import UNUSED_KEYS, depth_key
from modules.backend.loading.ldm_keys import clip_key, open_clip_key, unet_key, vae_key
from modules.backend.loading.prediction_probe import probe_prediction_type
from modules.backend.loading.state_dict import read_state_dict, to_aligned
from modules.backend.loading.weight_loader import StateDictSource, WeightLoader
from modules.core.errors import BadFile, Unsupported, UserError
from modules.models.families import detect_family, find_error, make_family_registry
from modules.models.file_cache import PredictionType
from modules.models.files.header import Header, read_header
from modules.models.ldm.config import ModelConfig, TextEncoderSource, read_config
from modules.models.ldm.depth import DepthConfig
from modules.models.ldm.names import (
    CLIP_LAYOUT,
    COND_STAGE_PREFIX,
    DEPTH_PREFIX,
    OPEN_CLIP_KIND,
    OPEN_CLIP_LAYOUT,
    OPEN_CLIP_PREFIX,
    UNET_PREFIX,
    VAE_DECODER_INPUT_KEY,
    VAE_PREFIX,
    detect_text_encoder_layout,
    find_key,
)
from modules.models.ldm.text import TextConfig

CPU = torch.device("cpu")
# Left in checkpoints by training or by other programs; nothing in them is needed to make a picture.
IGNORED_KEYS = (
    r"model_ema\..*|.*\.position_ids|.*\.loss\..*|loss\..*|logvar|scale_factor|lvlb_weights|betas|alphas_cumprod.*"
    r"|sqrt_.*|log_one_minus_.*|posterior_.*|.*logit_scale|.*text_projection.*|.*visual_projection.*"
    r"|.*vision_model\..*|embedding_manager\..*|denoiser\..*|global_step|.*\.model_ema\..*"
    rf"|{re.escape(OPEN_CLIP_PREFIX)}attn_mask|{UNUSED_KEYS}"
)
COMPONENT_PREFIXES = (
    UNET_PREFIX,
    VAE_PREFIX,
    COND_STAGE_PREFIX + "transformer.",
    OPEN_CLIP_PREFIX,
    DEPTH_PREFIX,
)
VAE_FAMILY = "VAE"  # its row of FAMILIES
PREDICTION_TYPES: dict[str, PredictionType] = {
    "eps": "epsilon",
    "v": "v_prediction",
}  # LDM's words to ours
TEXT_ENCODER_KEYS = {CLIP_LAYOUT.prefix: clip_key, OPEN_CLIP_LAYOUT.prefix: open_clip_key}


@dataclass(frozen=True)
class LoadOptions:
    """What is chosen of a checkpoint, beyond the file and its .yaml.

    Args:
        prediction: Rather than what the .yaml says; "probe" finds it out by a step of the network.
        vae: Another VAE's file; None takes the one in the checkpoint.
        text_encoder: Likewise another file, for itself or a whole checkpoint, that has a text encoder.
        use_ema: Whether the training's moving average is wanted where the file has it.
        device: Where the components will compute.
    """

    prediction: PredictionType | Literal["probe"] | None = None
    vae: Path | None = None
    text_encoder: Path | None = None
    use_ema: bool = False
    device: torch.device = CPU


DEFAULT_LOAD_OPTIONS = LoadOptions()


def load_components(
    path: Path, config: Path, precision: Precision, options: LoadOptions = DEFAULT_LOAD_OPTIONS
) -> Components:
    """Return the model of a checkpoint file.

    Weights whose dtype is already right stay mapped: the file must not be overwritten in place while in use.

    Args:
        path: A .safetensors or .ckpt file in LDM's layout; its content decides, not its extension.
        config: The .yaml that describes it.
        precision: Dtype of each component; rather than loaded and then converted, weights are converted as read.
        options: What is chosen beyond the two files.

    Raises:
        NotFound: one of the files is gone.
        BadFile: the checkpoint is damaged, unsafe, or lacks weights.
        Unsupported: it is of a kind that does not run here.
        UserError: the .yaml is broken or speaks of another model.
    """
    checked = validate_checkpoint(path, config, options)
    weights = read_state_dict(path, checked.header)
    if options.vae is not None:
        weights = weights.without_prefix(VAE_PREFIX)
    if options.text_encoder is not None:
        weights = weights.without_prefix(COND_STAGE_PREFIX)
    loaded = build_components(
        weights, checked.config, precision, path.name, checked.family, options
    )
    if options.prediction == "probe":
        loaded = replace(loaded, prediction_type=probe_prediction_type(loaded.unet))
    return loaded


@dataclass(frozen=True)
class ValidatedCheckpoint:
    """A checkpoint whose header and .yaml fit each other.

    Args:
        header: The file's.
        family: Name of its row of FAMILIES.
        config: What the .yaml says.
    """

    header: Header
    family: str
    config: ModelConfig


def validate_checkpoint(
    path: Path, config: Path, options: LoadOptions = DEFAULT_LOAD_OPTIONS
) -> ValidatedCheckpoint:
    """Return what the headers and the .yaml tell, before any weight is read.

    Raises:
        NotFound: one of the files is gone.
        BadFile: the checkpoint is damaged, unsafe, or lacks a component.
        Unsupported: it is of a kind that does not run here.
        UserError: the .yaml is broken or speaks of another model, or the VAE or the text encoder is none.
    """
    header = read_header(path)
    family = detect_family(header, make_family_registry())
    fault = find_error(header, family)
    if fault or family is None:
        kind = Unsupported if family is None or family.error else BadFile
        raise kind(f"'{path.name}' {fault}")
    if options.vae is not None:
        _check_vae(options.vae)
    elif find_key(header.tensors, VAE_DECODER_INPUT_KEY) is None:
        raise BadFile(
            f"'{path.name}' lacks its VAE.", "Put one into models/VAE and choose it on the page."
        )
    text = None
    if options.text_encoder is not None:
        text = _text_source(options.text_encoder)
    elif detect_text_encoder_layout(header.tensors) is None:
        raise BadFile(f"'{path.name}' lacks its text encoder.", "Put one into models/text_encoder.")
    return ValidatedCheckpoint(header, family.name, read_config(config, header, path.name, text))


def build_components(
    state_dict: Mapping[str, Tensor],
    config: ModelConfig,
    precision: Precision,
    name: str,
    family: str,
    options: LoadOptions = DEFAULT_LOAD_OPTIONS,
) -> Components:
    """Return the model made of tensors in LDM's layout.

    Args:
        state_dict: On any device, `meta` included; tensors already in the wanted dtype are not copied.
        config: What the .yaml says of them.
        precision: Dtype of each component.
        name: The checkpoint's, for messages.
        family: Name of its row of FAMILIES.
        options: What is chosen beyond the file.

    Raises:
        BadFile: weights are missing.
        UserError: the .yaml speaks of other weights.
    """
    fill = WeightLoader(
        StateDictSource(state_dict, name, config.file, options.use_ema), options.device
    )
    text = config.text_encoder
    half = precision.unet == torch.float16
    unet = fill(
        empty_models.make_empty_unet(
            config.unet, upcast_attention=half and text.layout.kind == OPEN_CLIP_KIND
        ),
        lambda key: unet_key(key, config.unet),
        precision.unet,
    )
    fill_vae = fill if options.vae is None else _filler(options.vae, config, options.device)
    vae = fill_vae(
        empty_models.make_empty_vae(config.vae),
        lambda key: vae_key(key, len(config.vae.ch_mult)),
        precision.vae,
    )
    fill_text = fill
    if options.text_encoder is not None:
        fill_text = _filler(options.text_encoder, config, options.device)
    text_encoder = fill_text(
        empty_models.make_empty_text_encoder(text),
        TEXT_ENCODER_KEYS[text.layout.prefix],
        precision.text_encoder,
    )
    depth_estimator = None
    if config.depth is not None:
        blank_depth = _blank_depth(state_dict, config.depth, name)
        depth_estimator = fill(blank_depth, depth_key, precision.vae)
    fill.check_unused_keys(
        COMPONENT_PREFIXES, re.compile("|".join([IGNORED_KEYS, *_skipped(text)]))
    )
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        alphas_cumprod=_alphas_cumprod(state_dict, config),
        prediction_type=PREDICTION_TYPES[config.parameterization]
        if options.prediction in (None, "probe")
        else options.prediction,
        family=family,
        pad_token_id=text.layout.pad_token_id,
        depth_estimator=depth_estimator,
    )


def _blank_depth(
    weights: Mapping[str, Tensor], config: DepthConfig, name: str
) -> DPTForDepthEstimation:
    try:
        return empty_models.make_empty_depth_estimator(weights, config)
    except KeyError as error:
        raise BadFile(
            f"The depth estimator of '{name}' lacks {error}.", "Get the full file."
        ) from error


def _filler(path: Path, config: ModelConfig, device: torch.device) -> WeightLoader:
    """Return what fills a component from a file of its own."""
    return WeightLoader(
        StateDictSource(read_state_dict(path, read_header(path)), path.name, config.file), device
    )


def _text_source(path: Path) -> TextEncoderSource:
    """Return another file that a checkpoint's text encoder comes from."""
    header = read_header(path)
    if detect_text_encoder_layout(header.tensors) is None:
        raise UserError(
            f"'{path.name}' is no text encoder{_instead(header)}.",
            "Take it out of models/text_encoder.",
        )
    return TextEncoderSource(header, path.name)


def _check_vae(path: Path) -> None:
    header = read_header(path)
    family = detect_family(header, make_family_registry())
    if family is None or family.name != VAE_FAMILY:
        raise UserError(
            f"'{path.name}' is no VAE{_instead(header)}.", "Choose another VAE, or None."
        )


def _instead(header: Header) -> str:
    """Return what a file is that is not what it should be, as the rest of a sentence."""
    family = detect_family(header, make_family_registry())
    return f", but of the kind {family.name}" if family else ", nor any other model known here"


def _skipped(text: TextConfig) -> list[str]:
    """Return a pattern for each layer of the text encoder that the file has beyond those computed."""
    first = text.num_hidden_layers
    return [
        rf"{re.escape(text.layout.layers_prefix)}{first + number}\..*"
        for number in range(text.skipped_layer_count)
    ]


def _alphas_cumprod(weights: Mapping[str, Tensor], config: ModelConfig) -> Tensor:
    """Return the file's own noise schedule, which LDM prefers too, else the one of the .yaml.

    LDM's "linear" is linear in the square root of beta (make_beta_schedule), diffusers' "scaled_linear".
    """
    own = weights.get("alphas_cumprod")
    if own is not None and own.shape == (config.timesteps,):
        own = to_aligned(own).double()
        if bool((own[1:] < own[:-1]).all()) and own[-1] > 0 and own[0] < 1:
            return own.clone()
    start, end = config.linear_start**0.5, config.linear_end**0.5
    betas = torch.linspace(start, end, config.timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)
