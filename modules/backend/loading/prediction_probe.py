"""Determines the prediction type of an SD 2.x network, which does not follow from its tensors' names or shapes."""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from modules.models.prediction_facts import PredictionType

# The rule of github.com/leejet/stable-diffusion.cpp, src/stable-diffusion.cpp, is_using_v_parameterization_for_sd2:
# for a constant input at the noisiest step, a network that predicts the noise returns about its input; one that
# predicts v returns far smaller values.
_CONSTANT = 0.5
_NOISIEST_TIMESTEP = 999
_V_THRESHOLD = -1.0
_SIDE = 8  # rows and columns of the latents; every UNet can halve them


def probe_prediction_type(unet: UNet2DConditionModel) -> PredictionType:
    """Return "epsilon" or "v_prediction", from one evaluation of the network on a constant."""
    options = {"device": unet.device, "dtype": unet.dtype}
    x = torch.full((1, int(unet.config["in_channels"]), _SIDE, _SIDE), _CONSTANT, **options)
    cond = torch.full((1, 2, int(unet.config["cross_attention_dim"])), _CONSTANT, **options)
    with torch.inference_mode():
        output = unet(x, torch.tensor(_NOISIEST_TIMESTEP), cond, return_dict=False)[0]
    return "v_prediction" if float((output - x).float().mean()) < _V_THRESHOLD else "epsilon"
