"""Pictures whose edges fit together: what lies beyond an edge is taken from the opposite one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def circular_padding(*networks: nn.Module, enabled: bool) -> Iterator[None]:
    """Let the convolutions of networks go around the edges, and restore them on the way out.

    Args:
        networks: UNet and VAE.
        enabled: False leaves everything as it is.
    """
    found = [
        (layer, layer.padding_mode)
        for network in networks
        for layer in network.modules()
        if enabled and isinstance(layer, nn.Conv2d)
    ]
    try:
        for layer, _ in found:
            layer.padding_mode = "circular"
        yield
    finally:
        for layer, mode in found:
            layer.padding_mode = mode  # pyright: ignore[reportAttributeAccessIssue] - it was there
