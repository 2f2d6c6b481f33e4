"""Layers of the networks as the original code computes them, where those of diffusers and torch lose something."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def with_exact_norms(network: M) -> M:
    """Return the network, whose group norms from now on see contiguous tensors alone.

    On the CPU torch takes the variance of a channels-last tensor as E[x^2] - E[x]^2 in float32, which leaves nothing of
    it where the mean is large, and sums by thread. The layout of the input does not come from the kernels alone: an
    image of Pillow's and the outputs of attention are channels last too.
    """
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(_make_contiguous)
    return network


def _make_contiguous(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)
