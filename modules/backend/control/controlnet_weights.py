"""Loads the weights of a ControlNet's file, with those of the checkpoint where the file holds only what differs from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.components import WeightOrigin
from modules.backend.control.empty_controlnet import (
    ControlNet,
    controlnet_file_key,
    make_empty_controlnet,
)
from modules.backend.loading.buffers import materialize
from modules.backend.loading.state_dict import FileStateDict, read_state_dict
from modules.core.errors import BadFile, UserError
from modules.models.control.control_model import ControlModel
from modules.models.control.layouts import CONTROL_LORA, CONTROLNET_DIFFERENCE
from modules.models.files.header import read_header

_NAMES_SHOWN = 3


@dataclass(frozen=True)
class BaseUNet:
    """The UNet that a control model guides.

    Args:
        unet: Loaded.
        origin: Of its weights, before LoRAs; None where it was not read from a file.
        device: Where it computes.
    """

    unet: UNet2DConditionModel
    origin: WeightOrigin | None
    device: torch.device

    def read(self, keys: Iterable[str]) -> Iterable[tuple[str, Tensor]]:
        """Yield weights by their keys, each valid until the next one."""
        own = self.unet.state_dict()
        wanted = [key for key in keys if key in own]
        if self.origin is not None:
            return self.origin.read(wanted)
        return ((key, own[key]) for key in wanted)


def load_controlnet(model: ControlModel, base: BaseUNet, device: torch.device) -> ControlNet:
    """Return the network of a ControlNet's file, in the precision of the UNet, in evaluation mode.

    Args:
        model: The file, and what it is.
        base: Whose encoder half the ControlNet is a copy of.
        device: Of its weights.

    Raises:
        NotFound: the file is gone.
        BadFile: it is damaged, or lacks weights.
        UserError: it was made for a UNet of other sizes.
    """
    header = read_header(model.path)
    network = make_empty_controlnet(header, model.layout, base.unet, model.file_name)
    key = controlnet_file_key(header, base.unet)
    state_dict = read_state_dict(model.path, header)
    parameters = network.state_dict()
    names = {own: key(own) for own in parameters if key(own) in state_dict}
    tensors = [
        _reshape(state_dict[name], parameters[own].shape, name, model)
        for own, name in names.items()
    ]
    dtype = base.unet.dtype
    weights = dict(zip(names, materialize(tensors, dtype, device, state_dict), strict=True))
    if model.layout == CONTROLNET_DIFFERENCE:
        for own, weight in base.read(names):
            weights[own] += _first_channels(weight, weights[own].shape).to(device, dtype)
    missing = [own for own in parameters if own not in weights]
    if model.layout == CONTROL_LORA:
        for own, weight in base.read(missing):
            change = _lora_change(state_dict, key(own), device)
            whole = _first_channels(weight, parameters[own].shape).to(device, torch.float32)
            if change is not None:
                whole = whole + change.reshape(whole.shape)
            # A copy: what is read is valid until the next one.
            weights[own] = whole.to(dtype).clone()
        missing = [own for own in missing if own not in weights]
    if missing:
        shown = ", ".join(map(key, missing[:_NAMES_SHOWN]))
        raise BadFile(
            f"'{model.file_name}' lacks {len(missing)} weights of a ControlNet for this checkpoint: {shown}.",
            "Download it again, or choose one for the checkpoint.",
        )
    network.load_state_dict(weights, assign=True)
    nn.Module.to(network, device)  # what is no weight; the weights are there already
    network.eval().requires_grad_(requires_grad=False)
    return network


def _first_channels(weight: Tensor, shape: torch.Size) -> Tensor:
    """Return a weight of a checkpoint without the inputs that an inpainting one has in addition to the latents."""
    return weight[:, : shape[1]] if weight.ndim == 4 and weight.shape[1] > shape[1] else weight


def _reshape(weight: Tensor, shape: torch.Size, name: str, model: ControlModel) -> Tensor:
    """Return a weight in a parameter's shape; a 1x1 convolution and a linear layer are interchangeable.

    Raises:
        UserError: it is of another size.
    """
    if weight.shape == shape:
        return weight
    if weight.numel() == shape.numel() and weight.is_contiguous():
        sizes = (tuple(size for size in one if size != 1) for one in (weight.shape, shape))
        if next(sizes) == next(sizes):
            return weight.reshape(shape)
    raise UserError(
        f"'{model.file_name}' was made for another checkpoint: its {name} is {list(weight.shape)}, and this one"
        f" needs {list(shape)}.",
        "Choose a control model for the checkpoint.",
    )


def _lora_change(state_dict: FileStateDict, name: str, device: torch.device) -> Tensor | None:
    """Return what a Control-LoRA adds to a weight of the checkpoint, None for nothing."""
    layer = name.removesuffix("weight")
    if not name.endswith("weight") or f"{layer}up" not in state_dict:
        return None
    up, down = (
        state_dict.read(state_dict[layer + part]).to(device, torch.float32).flatten(1)
        for part in ("up", "down")
    )
    return up @ down
