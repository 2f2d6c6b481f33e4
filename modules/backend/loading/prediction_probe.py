"""Finds out what an SD 2.x network predicts, which neither its tensors' names nor their shapes tell."""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from modules.models.file_cache import PredictionType

# The rule of github.com/leejet/stable-diffusion.cpp, src/stable-diffusion.cpp, is_using_v_parameterization_for_sd2:
# shown a constant at the noisiest step, a network that predicts the noise answers about what it sees; one that
# predicts v answers far below it.
CONSTANT = 0.5
NOISIEST_TIMESTEP = 999
V_IS_BELOW = -1.0


def probe_prediction_type(unet: UNet2DConditionModel) -> PredictionType:
    """Return "epsilon" or "v_prediction", from one step of the network on a constant."""
    place = {"device": unet.device, "dtype": unet.dtype}
    x = torch.full((1, int(unet.config["in_channels"]), 8, 8), CONSTANT, **place)
    words = torch.full((1, 2, int(unet.config["cross_attention_dim"])), CONSTANT, **place)
    with torch.inference_mode():
        answer = unet(x, torch.tensor(NOISIEST_TIMESTEP), words, return_dict=False)[0]
    return "v_prediction" if float((answer - x).float().mean()) < V_IS_BELOW else "epsilon"
