"""Tiny ControlNets of diffusers' classes with random weights, and files of them in every layout."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from modules.backend.control.empty_controlnet import ControlNet
from modules.backend.loading.ldm_keys import unet_encoder_key
from modules.models.control.control_index import ControlIndex
from modules.models.control.control_model import ControlModel
from modules.models.files.scan import scan_folder

HINT_WIDTHS = (8, 16, 16, 32)


def randomize(network: Any, seed: int) -> None:
    """Give a network random weights: its output layers are zero otherwise."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


def make_controlnet(unet: UNet2DConditionModel, seed: int = 1, **options: Any) -> ControlNetModel:
    """Return a ControlNet for a UNet."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=HINT_WIDTHS, **options
        )
        randomize(network, seed)
    return network.eval().requires_grad_(False)


def make_small_controlnet(unet: UNet2DConditionModel, *, mid: bool) -> ControlNetModel:
    """Return a ControlNet like the small ones of SDXL: one transformer a layer ("mid"), or none."""
    config = {**unet.config, "in_channels": 4}
    keys = inspect.signature(ControlNetModel.__init__).parameters
    options = {key: value for key, value in config.items() if key in keys}
    options |= {
        "transformer_layers_per_block": (1, 1),
        "conditioning_embedding_out_channels": HINT_WIDTHS,
    }
    options["mid_block_type"] = "UNetMidBlock2DCrossAttn" if mid else "UNetMidBlock2D"
    if not mid:
        options["down_block_types"] = ("DownBlock2D", "DownBlock2D")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = ControlNetModel(**options)
        randomize(network, 3)
    return network.eval().requires_grad_(False)


def make_union(unet: UNet2DConditionModel, types: int = 8) -> ControlNetUnionModel:
    """Return a Union model for a UNet, in small."""
    config = {**unet.config, "in_channels": 4}
    keys = inspect.signature(ControlNetUnionModel.__init__).parameters
    options = {key: value for key, value in config.items() if key in keys}
    width = options["block_out_channels"][0]
    options |= {
        "conditioning_embedding_out_channels": HINT_WIDTHS,
        "num_control_type": types,
        "num_trans_channel": width,
        "num_proj_channel": width,
    }
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = ControlNetUnionModel(**options)
        randomize(network, 4)
    return network.eval().requires_grad_(False)


def diffusers_weights(network: ControlNet) -> dict[str, Tensor]:
    """Return the tensors of a file in diffusers' layout."""
    return {key: value.contiguous() for key, value in network.state_dict().items()}


def original_weights(network: ControlNet, prefix: str = "control_model.") -> dict[str, Tensor]:
    """Return the tensors of a file in the original layout, written down here once more."""
    layers = int(network.config["layers_per_block"])
    last = 2 * (2 * len(HINT_WIDTHS) - 1)
    weights: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        leaf = key.rsplit(".", 1)[1]
        if key.startswith("controlnet_cond_embedding.conv_in"):
            name = f"input_hint_block.0.{leaf}"
        elif key.startswith("controlnet_cond_embedding.conv_out"):
            name = f"input_hint_block.{last}.{leaf}"
        elif key.startswith("controlnet_cond_embedding"):
            name = f"input_hint_block.{2 + 2 * int(key.split('.')[2])}.{leaf}"
        elif key.startswith("controlnet_down_blocks"):
            name = f"zero_convs.{key.split('.')[1]}.0.{leaf}"
        elif key.startswith("controlnet_mid_block"):
            name = f"middle_block_out.0.{leaf}"
        else:
            name = unet_encoder_key(key, layers)
        weights[prefix + name] = value.contiguous()
    return weights


def difference_weights(network: ControlNet, unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Return the tensors of a file with what differs from the UNet."""
    base = unet.state_dict()
    layers = int(network.config["layers_per_block"])
    shared = {
        unet_encoder_key(key, layers): base[key] for key in network.state_dict() if key in base
    }
    weights = {
        name: value - shared[name] if name in shared else value
        for name, value in original_weights(network, "").items()
    }
    return {**weights, "difference": torch.zeros(1)}


def control_lora_weights(
    network: ControlNet, unet: UNet2DConditionModel, rank: int = 4
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a Control-LoRA, and the whole weights that it stands for, by diffusers' keys."""
    base, layers = unet.state_dict(), int(network.config["layers_per_block"])
    generator = torch.Generator().manual_seed(9)
    names = dict(zip(network.state_dict(), original_weights(network, ""), strict=True))
    file: dict[str, Tensor] = {"lora_controlnet": torch.zeros(1)}
    whole: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        name = names[key]
        assert key not in base or name == unet_encoder_key(key, layers)
        if key not in base or not key.endswith("weight") or value.ndim < 2:
            file[name] = whole[key] = value.contiguous()
            continue
        if "conv_in" in key:  # what a file leaves out is the checkpoint's
            whole[key] = base[key]
            continue
        up = 0.1 * torch.randn(value.shape[0], rank, generator=generator)
        down = 0.1 * torch.randn(rank, *value.shape[1:], generator=generator)
        file[name.removesuffix("weight") + "up"] = up[..., None, None] if value.ndim == 4 else up
        file[name.removesuffix("weight") + "down"] = down
        whole[key] = base[key] + (up @ down.flatten(1)).reshape(value.shape)
    return file, whole


def write_control(
    folder: Path, name: str, weights: dict[str, Tensor], dtype: torch.dtype = torch.float32
) -> ControlModel:
    """Write a control model's file and return it as it is listed."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.to(dtype).contiguous().clone() for key, value in weights.items()}
    if name.endswith(".safetensors"):
        save_file(weights, folder / name)
    else:
        torch.save(weights, folder / name)
    index = ControlIndex(
        lambda _: tuple(scan_folder(folder, (".safetensors", ".pth", ".bin"))),
        lambda _: None,
        lambda _: (folder,),
        folder / "cache",
    )
    return index.find(name)
