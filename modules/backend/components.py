"""The components of a loaded checkpoint: UNet, VAE, text encoders and depth estimator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, DPTForDepthEstimation

from modules.models.families import LatentFormat, MicroConditioning
from modules.models.ldm.text_encoder_layouts import ClipSkip
from modules.models.prediction_facts import PredictionType


@dataclass(frozen=True)
class Precision:
    """The dtype each component is loaded in; the depth estimator follows the VAE."""

    unet: torch.dtype
    vae: torch.dtype
    text_encoder: torch.dtype


@dataclass(frozen=True)
class WeightOrigin:
    """Where the weights of a network came from, so that they can be read again after something changed them.

    Args:
        read: Yields these parameters of the network with their weights, in the dtype and order of the file, each valid until
            the next one. Raises `BadFile` where the file is no longer what it was.
        key_in_file: Returns a parameter's key in the file; "" where the file joins it with others.
    """

    read: Callable[[Collection[str]], Iterator[tuple[str, Tensor]]]
    key_in_file: Callable[[str], str]


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a model.

    Args:
        network: With a projection where its pooled output is needed.
        pad_token_id: Fills the chunk after the end token; None repeats the end token.
        hidden_layer: Which layer gives the hidden states without clip skip, counted from the last, which is 1.
        name: As its row of the family has it: "text_encoder", or "clip_l" and "clip_g" of SDXL.
        final_norm: Whether the final norm is applied to the hidden states.
        clip_skip: When clip skip has an effect; see TextEncoderSlot.
        origin: Of its weights; None for a network that no file holds.
    """

    network: CLIPTextModel | CLIPTextModelWithProjection
    pad_token_id: int | None = None
    hidden_layer: int = 1
    name: str = "text_encoder"
    final_norm: bool = True
    clip_skip: ClipSkip = "always"
    origin: WeightOrigin | None = None

    def layer_after_skip(self, clip_skip: int, *, sdxl_clip_l_skip: bool = False) -> int:
        """Return which layer gives the hidden states, counted from the last, which is 1.

        Args:
            clip_skip: 1 takes the usual layer, 2 the one before it.
            sdxl_clip_l_skip: Whether clip skip counts for the first text encoder of SDXL; 1 is then the last layer,
                and 2 the usual one, as in A1111.
        """
        if self.clip_skip == "always":
            return self.hidden_layer + clip_skip - 1
        if self.clip_skip == "sdxl_clip_l_skip" and sdxl_clip_l_skip:
            return clip_skip
        return self.hidden_layer


@dataclass(frozen=True)
class Components:
    """A loaded model, in evaluation mode, without gradients.

    Args:
        text_encoders: The UNet attends to their hidden states, joined in this order.
        alphas_cumprod: float64 [timesteps], decreasing; the share of signal left at each timestep.
        prediction_type: "epsilon" or "v_prediction".
        family: Name of its row of FAMILIES.
        depth_estimator: Of a depth checkpoint that contains one.
        micro_conditioning: What the UNet gets with the sizes; see Family.
        unet_origin: Of the UNet's weights; None for a network that no file holds.
        note: Shown with every job that uses it; "" for none.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]
    alphas_cumprod: Tensor
    prediction_type: PredictionType
    family: str
    depth_estimator: DPTForDepthEstimation | None = None
    micro_conditioning: MicroConditioning = ""
    unet_origin: WeightOrigin | None = None
    note: str = ""

    @property
    def latent_format(self) -> LatentFormat:
        """Return the latents of the VAE."""
        config = self.vae.config
        return LatentFormat(
            channels=int(config["latent_channels"]),
            scale=float(config["scaling_factor"]),
            shift=float(config["shift_factor"] or 0.0),
            pixels_per_cell=2 ** (len(config["block_out_channels"]) - 1),
        )
