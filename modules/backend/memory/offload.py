"""Moves the parts of a model to the device for their turn, by the hooks of accelerate and diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.hooks import CpuOffload, add_hook_to_module
from accelerate.utils.modeling import clear_device_cache
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from modules.backend.components import Components

CPU = torch.device("cpu")
# Lists in these are moved module by module: a ResNet block, or the transformer next to it.
_BLOCKS = ["down_blocks", "mid_block", "up_blocks", "0", "1", "2", "3"]


class _Turns:
    """Lets one network at a time be on the device."""

    def __init__(self) -> None:
        self._current: nn.Module | None = None

    def take(self, network: nn.Module | None) -> None:
        """Send the network away that had the turn before; None for one that comes by itself."""
        if self._current is not None and self._current is not network:
            self._current.to(CPU)
            clear_device_cache()
        self._current = network


class _TurnHook(CpuOffload):
    """accelerate's hook that moves a network to the device when it is called, and the one before it away."""

    def __init__(self, device: torch.device, turns: _Turns) -> None:
        super().__init__(device)
        self._turns = turns

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments on the device. Any: of whatever network it is."""
        self._turns.take(module)
        return super().pre_forward(module, *args, **kwargs)


def offload_in_turn(networks: Sequence[nn.Module], device: torch.device) -> None:
    """Keep each network off the device until it is called; then the others leave.

    Args:
        networks: On the CPU.
        device: Where they compute.
    """
    turns = _Turns()
    for network in networks:
        add_hook_to_module(network, _TurnHook(device, turns))


def stream_blocks(
    unet: UNet2DConditionModel, others: Sequence[nn.Module], device: torch.device
) -> None:
    """Keep the blocks of a UNet off the device; each comes for its own part of a call. Other networks come in turn.

    Weights are moved as they are, without copies in pinned memory, so that what changes them on the CPU counts.

    Args:
        unet: On the CPU.
        others: Likewise.
        device: Where they compute.
    """
    turns = _Turns()
    for network in others:
        add_hook_to_module(network, _TurnHook(device, turns))
    unet.register_forward_pre_hook(lambda *_: turns.take(None))
    unet.enable_group_offload(
        onload_device=device,
        offload_device=CPU,
        offload_type="block_level",
        num_blocks_per_group=1,
        block_modules=_BLOCKS,  # pyright: ignore[reportArgumentType] - the hook below takes a list
    )


def execution_device(network: nn.Module) -> torch.device:
    """Return where a network computes, which is not where its weights are while it has no turn."""
    hook = getattr(network, "_hf_hook", None)
    if isinstance(hook, CpuOffload):
        return torch.device(hook.execution_device)
    device: torch.device = network.device  # pyright: ignore[reportAssignmentType] - every network of diffusers and transformers has it
    return device


def is_offloaded(components: Components) -> bool:
    """Return whether networks come to the device for their turn alone."""
    return any(
        isinstance(getattr(network, "_hf_hook", None), CpuOffload)
        for network in networks_of(components)
    )


def networks_of(components: Components) -> list[nn.Module]:
    """Return all networks, the UNet first."""
    estimator = components.depth_estimator
    return [
        components.unet,
        components.vae,
        *(encoder.network for encoder in components.text_encoders),
        *([] if estimator is None else [estimator]),
    ]
