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

from modules.backend.components import Components, Precision, TextEncoder
from modules.backend.loading import empty_models
from modules.backend.loading.depth_keys import UNUSED_KEYS, depth_key
from modules.backend.loading.ldm_keys import (
    TEXT_ENCODER_KEYS,
    TextEncoderKey,
    text_encoder_key,
    unet_file_key,
    vae_file_key,
)
from modules.backend.loading.pieces import Copies
from modules.backend.loading.prediction_probe import probe_prediction_type
from modules.backend.loading.separate_files import detect_kind, find_text_encoder, validate_vae
from modules.backend.loading.state_dict import read_state_dict, read_tensor
from modules.backend.loading.vae_origin import describe_unrelated_vae
from modules.backend.loading.weight_cache import WeightCache
from modules.backend.loading.weight_loader import Destination, StateDictSource, WeightLoader
from modules.core.errors import BadFile, Unsupported
from modules.models.families import Family
from modules.models.files.header import Header, read_header
from modules.models.kinds import find_checkpoint_error
from modules.models.ldm.config import ModelConfig, read_config
from modules.models.ldm.depth import DepthConfig
from modules.models.ldm.keys import (
    DEPTH_PREFIX,
    DIFFUSERS_UNET_KEYS,
    DIFFUSERS_UNET_PREFIXES,
    UNET_INPUT_KEY,
    UNET_PREFIX,
    VAE_DECODER_INPUT_KEY,
    VAE_PREFIX,
    find_key,
)
from modules.models.ldm.text_encoder import TextConfig
from modules.models.ldm.text_encoder_layouts import (
    OPEN_CLIP_KIND,
    TextEncoderSlot,
)
from modules.models.prediction_facts import PredictionType

CPU = torch.device("cpu")
# Left in checkpoints by training or by other programs; not needed to generate images.
_IGNORED_KEYS = (
    r"model_ema\..*|.*\.position_ids|.*\.loss\..*|loss\..*|logvar|scale_factor|lvlb_weights|betas|alphas_cumprod.*"
    r"|sqrt_.*|log_one_minus_.*|posterior_.*|.*logit_scale|.*text_projection.*|.*visual_projection.*"
    r"|.*vision_model\..*|embedding_manager\..*|denoiser\..*|global_step|.*\.model_ema\..*|v_pred|ztsnr"
    r"|scaled_fp8|.*\.scale_weight|.*\.scale_input"
    rf"|{UNUSED_KEYS}"
)
_COMPONENT_PREFIXES = (UNET_PREFIX, VAE_PREFIX, DEPTH_PREFIX)
# Under the prefix of a text encoder's slot, of CLIP and OpenCLIP.
_CLIP, _OPEN_CLIP = "transformer.", "model."
# By LDM's parameterization.
_PREDICTION_TYPES: dict[str, PredictionType] = {"eps": "epsilon", "v": "v_prediction"}


@dataclass(frozen=True)
class LoadOptions:
    """Options of loading, in addition to the file and its .yaml.

    Args:
        prediction: Overrides the .yaml; "probe" determines it by an evaluation of the network.
        vae: A separate VAE file; None uses the checkpoint's VAE.
        text_encoders: Likewise a file for each text encoder, which has it alone or is a whole checkpoint; none for all.
        use_ema: Whether to use the EMA weights if the file has them.
        device: Of the components.
        family: The checkpoint's; None detects it among the known ones.
        cache: Keeps converted weights on the disk.
        text_encoder_keys: By the prefix of a layout: from a key of transformers' CLIP to the key in the file.
    """

    prediction: PredictionType | Literal["probe"] | None = None
    vae: Path | None = None
    text_encoders: tuple[Path | None, ...] = ()
    use_ema: bool = False
    device: torch.device = CPU
    family: Family | None = None
    cache: WeightCache | None = field(default=None, compare=False)
    text_encoder_keys: Mapping[str, TextEncoderKey] = field(
        default_factory=lambda: TEXT_ENCODER_KEYS, compare=False
    )


DEFAULT_LOAD_OPTIONS = LoadOptions()


def load_components(
    path: Path, config: Path, precision: Precision, options: LoadOptions = DEFAULT_LOAD_OPTIONS
) -> Components:
    """Return the components of a checkpoint file.

    Every weight is a copy, or mapped from the cache: the file may be replaced or cut short while it is loaded and afterwards.

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
    note = ""
    if options.vae is not None:
        note = describe_unrelated_vae(state_dict, options.vae, path.name)
        state_dict = state_dict.without_prefix(VAE_PREFIX)
    for slot, file in zip(
        checkpoint.family.text_encoders,
        _text_encoder_files(checkpoint.family, options),
        strict=True,
    ):
        if file is not None:
            state_dict = state_dict.without_prefix(slot.prefix)
    components = build_components(
        state_dict, checkpoint.config, precision, path.name, checkpoint.family, options
    )
    if options.prediction == "probe":
        prediction_type = probe_prediction_type(components.unet)
        components = replace(components, prediction_type=prediction_type)
    return replace(components, note=note)


@dataclass(frozen=True)
class ValidatedCheckpoint:
    """A checkpoint whose header matches its .yaml.

    Args:
        header: Of the file.
        family: Its row of FAMILIES.
        config: The parsed .yaml.
    """

    header: Header
    family: Family
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
    family, error = _find_family(header, options)
    if error or family is None:
        error_class = Unsupported if family is None or family.error else BadFile
        raise error_class(f"'{path.name}' {error}")
    if options.vae is None and find_key(header.tensors, VAE_DECODER_INPUT_KEY) is None:
        raise BadFile(
            f"'{path.name}' lacks its VAE.", "Put one into models/VAE and choose it on the page."
        )
    sources = [
        find_text_encoder(header, path.name, slot, file)
        for slot, file in zip(
            family.text_encoders, _text_encoder_files(family, options), strict=True
        )
    ]
    model_config = read_config(config, header, path.name, sources)
    if options.vae is not None:
        validate_vae(options.vae, model_config, path.name)
    return ValidatedCheckpoint(header, family, model_config)


def build_components(
    state_dict: Mapping[str, Tensor],
    config: ModelConfig,
    precision: Precision,
    name: str,
    family: Family,
    options: LoadOptions = DEFAULT_LOAD_OPTIONS,
) -> Components:
    """Return the components of a state dict in LDM's layout.

    Args:
        state_dict: On any device, `meta` included.
        config: The parsed .yaml.
        precision: Dtype of each component.
        name: The checkpoint's, for messages.
        family: Its row of FAMILIES.
        options: In addition to the file.

    Raises:
        BadFile: weights are missing.
        UserError: the .yaml describes other weights.
    """
    with Copies() as copies:  # each network is made while the weights of the one before are read
        source = StateDictSource(state_dict, name, config.file, options.use_ema)
        loader = WeightLoader(source, Destination(options.device, copies, options.cache))
        components = _build(loader, config, precision, family, options)
    if options.cache is not None:
        options.cache.write_later(loader.destination.converted)
    return components


def _build(
    loader: WeightLoader,
    config: ModelConfig,
    precision: Precision,
    family: Family,
    options: LoadOptions,
) -> Components:
    """Return the components; those on the CPU have their weights when the block of the loader's copies ends."""
    state_dict, target = loader.state_dict, loader.destination
    # SD 2.x overflows in half precision, SDXL does not.
    is_sd2 = not family.is_sdxl and config.text_encoders[0].layout.kind == OPEN_CLIP_KIND
    find_unet_key = unet_file_key(state_dict, config.unet)
    unet = loader.load_into(
        empty_models.make_empty_unet(
            config.unet, upcast_attention=is_sd2 and precision.unet == torch.float16
        ),
        find_unet_key,
        precision.unet,
    )
    vae_loader = loader if options.vae is None else _make_file_loader(options.vae, config, target)
    vae = vae_loader.load_into(
        empty_models.make_empty_vae(config.vae),
        vae_file_key(vae_loader.state_dict, len(config.vae.ch_mult)),
        precision.vae,
    )
    text_encoders = tuple(
        _load_text_encoder(
            loader if file is None else _make_file_loader(file, config, target),
            text,
            slot,
            options.text_encoder_keys,
            precision,
        )
        for text, slot, file in zip(
            config.text_encoders,
            family.text_encoders,
            _text_encoder_files(family, options),
            strict=True,
        )
    )
    depth_estimator = None
    if config.depth is not None:
        empty_estimator = _make_empty_depth_estimator(state_dict, config.depth, loader.name)
        depth_estimator = loader.load_into(empty_estimator, depth_key, precision.vae)
    ignored = [pattern for text in config.text_encoders for pattern in _skipped_layers(text)]
    is_diffusers = DIFFUSERS_UNET_KEYS[UNET_INPUT_KEY] in state_dict
    prefixes = [*_COMPONENT_PREFIXES, *(DIFFUSERS_UNET_PREFIXES if is_diffusers else ())]
    for slot in family.text_encoders:
        prefixes += (slot.prefix + _CLIP, slot.prefix + _OPEN_CLIP)
        ignored.append(re.escape(slot.prefix + _OPEN_CLIP) + "attn_mask")
    loader.check_unused_keys(tuple(prefixes), re.compile("|".join([_IGNORED_KEYS, *ignored])))
    return Components(
        unet=unet,
        vae=vae,
        text_encoders=text_encoders,
        alphas_cumprod=_alphas_cumprod(state_dict, config),
        prediction_type=_PREDICTION_TYPES[config.noise_schedule.parameterization]
        if options.prediction in (None, "probe")
        else options.prediction,
        family=family.name,
        depth_estimator=depth_estimator,
        unet_origin=loader.origin(unet, find_unet_key),
        micro_conditioning=family.micro_conditioning,
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


def _load_text_encoder(
    loader: WeightLoader,
    config: TextConfig,
    slot: TextEncoderSlot,
    keys: Mapping[str, TextEncoderKey],
    precision: Precision,
) -> TextEncoder:
    find_key_in_file = text_encoder_key(config.layout, keys)
    network = loader.load_into(
        empty_models.make_empty_text_encoder(config), find_key_in_file, precision.text_encoder
    )
    return TextEncoder(
        network,
        config.layout.pad_token_id,
        config.hidden_layer,
        slot.name,
        config.final_norm,
        slot.clip_skip,
        loader.origin(network, find_key_in_file),
    )


def _text_encoder_files(family: Family, options: LoadOptions) -> tuple[Path | None, ...]:
    """Return the separate file of each text encoder of the family, None in place of those in the checkpoint."""
    count = len(family.text_encoders)
    # The file may have become one of another family since the options were made.
    return options.text_encoders if len(options.text_encoders) == count else (None,) * count


def _make_file_loader(path: Path, config: ModelConfig, destination: Destination) -> WeightLoader:
    """Return the loader for a component in a separate file."""
    state_dict = read_state_dict(path, read_header(path))
    return WeightLoader(StateDictSource(state_dict, path.name, config.file), destination)


def _find_family(header: Header, options: LoadOptions) -> tuple[Family | None, str]:
    """Return the family of a checkpoint, and why it cannot be loaded; the file may have changed since it was listed."""
    if options.family is not None and options.family.matches(header):
        return options.family, options.family.find_error(header)
    detection = detect_kind(header)
    return detection.family, find_checkpoint_error(header, detection)


def _skipped_layers(text: TextConfig) -> list[str]:
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
    schedule = config.noise_schedule
    if stored is not None and stored.shape == (schedule.timesteps,):
        stored = read_tensor(state_dict, stored).double()
        if bool((stored[1:] < stored[:-1]).all()) and stored[-1] > 0 and stored[0] < 1:
            return stored.clone()
    start, end = schedule.linear_start**0.5, schedule.linear_end**0.5
    betas = torch.linspace(start, end, schedule.timesteps, dtype=torch.float64) ** 2
    # LDM keeps it in 32 bits, which moves the smallest sigma by 1e-5 of its value.
    return torch.cumprod(1 - betas, dim=0).float().double()
