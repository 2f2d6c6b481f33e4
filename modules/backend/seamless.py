"""Tileable images: convolutions pad each edge with the opposite one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def circular_padding(*networks: nn.Module, enabled: bool) -> Iterator[None]:
    """Make the convolutions of the networks pad circularly or, as they were trained, with zeros; restore them on exit.

    Args:
        networks: UNet and VAE.
        enabled: False pads with zeros, also where the caller pads circularly.
    """
    convolutions = [
        (layer, layer.padding_mode)
        for network in networks
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        for layer, _ in convolutions:
            layer.padding_mode = "circular" if enabled else "zeros"
        yield
    finally:
        for layer, mode in convolutions:
            layer.padding_mode = mode  # pyright: ignore[reportAttributeAccessIssue] - it was there
