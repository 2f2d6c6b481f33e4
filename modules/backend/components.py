"""The components of a loaded checkpoint: UNet, VAE, text encoder and depth estimator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, DPTForDepthEstimation

from modules.models.file_cache import PredictionType


@dataclass(frozen=True)
class Precision:
    """The dtype each component is loaded in; the depth estimator follows the VAE."""

    unet: torch.dtype
    vae: torch.dtype
    text_encoder: torch.dtype


@dataclass(frozen=True)
class Components:
    """A loaded model, in evaluation mode, without gradients.

    Args:
        alphas_cumprod: float64 [timesteps], decreasing; the share of signal left at each timestep.
        prediction_type: "epsilon" or "v_prediction".
        family: Name of its row of FAMILIES.
        pad_token_id: Fills the chunk after the end token; None repeats the end token.
        depth_estimator: Of a depth checkpoint that contains one.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    family: str
    pad_token_id: int | None = None
    depth_estimator: DPTForDepthEstimation | None = None
