"""Checkpoint file and .yaml to UNet, VAE and text encoder. Never asks a hub, never runs a pickle."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from modules.backend.ldm_layout import text_name, unet_name, vae_name
from modules.backend.unpickle import read_tensors
from modules.core.errors import BadFile, Unsupported, UserError
from modules.models.configs import OTHER_MODEL, ModelConfig, read_config
from modules.models.families import detect, families, fault_of
from modules.models.header import Header, read_header
from modules.models.ldm_names import TEXT, UNET, VAE, actual_name
from modules.models.text_config import TextConfig
from modules.models.unet_config import UNetConfig
from modules.models.vae_config import VaeConfig

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger(__name__)

# Left in checkpoints by training or by other programs; nothing in them is needed to make a picture.
HARMLESS = re.compile(
    r"model_ema\..*|.*\.position_ids|.*\.loss\..*|loss\..*|logvar|scale_factor|lvlb_weights|betas|alphas_cumprod.*"
    r"|sqrt_.*|log_one_minus_.*|posterior_.*|.*logit_scale|.*text_projection.*|.*visual_projection.*"
    r"|.*vision_model\..*|embedding_manager\..*|denoiser\..*|global_step|.*\.model_ema\..*"
)
PARTS = (UNET, VAE, TEXT.removesuffix("text_model."))
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}  # LDM's words to diffusers'
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Precision:
    """The dtype each component is loaded in."""

    unet: torch.dtype
    vae: torch.dtype
    text_encoder: torch.dtype


@dataclass(frozen=True)
class Components:
    """A loaded model on the CPU, in evaluation mode, without gradients.

    Args:
        alphas_cumprod: float64 [timesteps], falling; the share of signal left at each timestep.
        prediction_type: "epsilon" or "v_prediction".
        family: Name of its row of FAMILIES.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    alphas_cumprod: Tensor
    prediction_type: str
    family: str


def load(path: Path, config: Path, precision: Precision) -> Components:
    """Return the model of a checkpoint file.

    Weights whose dtype is already right stay mapped: the file must not be overwritten in place while in use.

    Args:
        path: A .safetensors or .ckpt file in LDM's layout; its content decides, not its extension.
        config: The .yaml that describes it.
        precision: Dtype of each component; rather than loaded and then converted, weights are converted as read.

    Raises:
        NotFound: one of the files is gone.
        BadFile: the checkpoint is damaged, unsafe, or lacks weights.
        Unsupported: it is of a kind that does not run here.
        UserError: the .yaml is broken or speaks of another model.
    """
    header = read_header(path)
    family = detect(header, families())
    fault = fault_of(header, family)
    if fault or family is None:
        kind = Unsupported if family is None or family.fault else BadFile
        raise kind(f"'{path.name}' {fault}")
    model = read_config(config, header, path.name)
    return assemble(_read_weights(path, header), model, precision, path.name, family.name)


def assemble(
    weights: Mapping[str, Tensor], config: ModelConfig, precision: Precision, name: str, family: str
) -> Components:
    """Return the model made of tensors in LDM's layout.

    Args:
        weights: On any device, `meta` included; tensors already in the wanted dtype are not copied.
        config: What the .yaml says of them.
        precision: Dtype of each component.
        name: The checkpoint's, for messages.
        family: Name of its row of FAMILIES.

    Raises:
        BadFile: weights are missing.
        UserError: the .yaml speaks of other weights.
    """
    fill = _Filler(weights, name, config.file)
    unet = fill(_make_unet(config.unet), lambda key: unet_name(key, config.unet), precision.unet)
    vae = fill(
        _make_vae(config.vae), lambda key: vae_name(key, len(config.vae.ch_mult)), precision.vae
    )
    text_encoder = fill(_make_text_encoder(config.text), text_name, precision.text_encoder)
    fill.check_leftovers()
    return Components(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        alphas_cumprod=_alphas_cumprod(weights, config),
        prediction_type=PREDICTIONS[config.parameterization],
        family=family,
    )


def _read_weights(path: Path, header: Header) -> Mapping[str, Tensor]:
    if header.kind != "safetensors":
        return read_tensors(path, zipped=header.kind == "zip")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadFile(f"'{path.name}' cannot be read: {error}.", "Download it again.") from error


class _Filler:
    """Fills modules made without memory with a checkpoint's weights, and keeps account of every name."""

    def __init__(self, weights: Mapping[str, Tensor], checkpoint: str, config: Path) -> None:
        self._weights = weights
        self._checkpoint = checkpoint
        self._config = config
        self._used: set[str] = set()

    def __call__(self, module: M, ldm_name: Callable[[str], str], dtype: torch.dtype) -> M:
        """Return the module with its weights, in that dtype."""
        state: dict[str, Tensor] = {}
        missing: list[str] = []
        for key, parameter in module.state_dict().items():
            name = ldm_name(key)
            actual = actual_name(self._weights, name)
            if actual is None:
                missing.append(name)
                continue
            self._used.add(actual)
            state[key] = self._fitted(actual, parameter.shape).to(dtype)
        if missing:
            text = f"'{self._checkpoint}' lacks {len(missing)} weights that '{self._config}' asks for: {_few(missing)}."
            raise BadFile(text, "The file is incomplete, or the .yaml belongs to another model.")
        module.load_state_dict(state, assign=True)
        return module.eval().requires_grad_(requires_grad=False)

    def check_leftovers(self) -> None:
        """Report what the file has beyond its components.

        Raises:
            UserError: some of it belongs to a component, which then is another than the .yaml describes.
        """
        left = [
            name
            for name in self._weights
            if name not in self._used and not HARMLESS.fullmatch(name)
        ]
        within = [name for name in left if name.startswith(PARTS)]
        if within:
            text = f"'{self._checkpoint}' has {len(within)} weights that '{self._config}' does not speak of: {_few(within)}."
            raise UserError(text, OTHER_MODEL)
        if left:
            logger.warning(
                "'%s' has %d weights that are not used: %s", self._checkpoint, len(left), _few(left)
            )

    def _fitted(self, name: str, shape: torch.Size) -> Tensor:
        """Return a weight in the shape wanted; a 1x1 convolution and a linear layer are the same."""
        weight = self._weights[name]
        if _without_kernel(weight.shape) == _without_kernel(shape):
            weight = weight.reshape(shape)
        if weight.shape != shape:
            text = f"'{self._config}' makes {name} {list(shape)}, but '{self._checkpoint}' has {list(weight.shape)}."
            raise UserError(text, OTHER_MODEL)
        return weight


def _without_kernel(shape: torch.Size) -> torch.Size:
    return shape[:2] if shape[2:] == (1, 1) else shape


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _make_unet(config: UNetConfig) -> UNet2DConditionModel:
    kinds = ["CrossAttn" if attends else "" for attends in config.attention]
    options = {
        "sample_size": config.image_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "block_out_channels": [config.model_channels * mult for mult in config.channel_mult],
        "layers_per_block": config.num_res_blocks,
        "cross_attention_dim": config.context_dim,
        "attention_head_dim": config.num_heads,  # its name notwithstanding, diffusers takes it as a count
        "transformer_layers_per_block": config.transformer_depth,
        "use_linear_projection": config.use_linear,
        "norm_num_groups": config.norm_num_groups,
    }
    with init_empty_weights(include_buffers=False):
        return cast("UNet2DConditionModel", UNet2DConditionModel.from_config(options))  # no tuple


def _make_vae(config: VaeConfig) -> AutoencoderKL:
    options = {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(config.ch_mult),
        "up_block_types": ["UpDecoderBlock2D"] * len(config.ch_mult),
        "block_out_channels": [config.ch * mult for mult in config.ch_mult],
        "layers_per_block": config.num_res_blocks,
        "latent_channels": config.z_channels,
        "norm_num_groups": config.norm_num_groups,
        "sample_size": config.resolution,
        "scaling_factor": config.scale_factor,
    }
    with init_empty_weights(include_buffers=False):
        return cast("AutoencoderKL", AutoencoderKL.from_config(options))  # no tuple


def _make_text_encoder(config: TextConfig) -> CLIPTextModel:
    # Buffers stay real: position_ids on the meta device would make every embedding NaN.
    with init_empty_weights(include_buffers=False):
        return CLIPTextModel(CLIPTextConfig(**vars(config)))


def _alphas_cumprod(weights: Mapping[str, Tensor], config: ModelConfig) -> Tensor:
    """Return the file's own noise schedule, which LDM prefers too, else the one of the .yaml.

    LDM's "linear" is linear in the square root of beta (make_beta_schedule), diffusers' "scaled_linear".
    """
    own = weights.get("alphas_cumprod")
    if own is not None and own.shape == (config.timesteps,):
        own = own.double()
        if bool((own[1:] < own[:-1]).all()) and own[-1] > 0 and own[0] < 1:
            return own.clone()
    start, end = config.linear_start**0.5, config.linear_end**0.5
    betas = torch.linspace(start, end, config.timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)
