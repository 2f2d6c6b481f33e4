"""Layers of the networks as the original code computes them, where those of diffusers and torch lose something, and how
they pad for images that tile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
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


class CroppingUpsample2D(Upsample2D):
    """Doubles, convolves, and then crops to the wanted size.

    The stock layer stretches to that size and convolves after, so that with an odd size the convolution meets the padding
    a row earlier. The original network always doubles (LDM, openaimodel.py: Upsample).
    """

    def forward(  # noqa: D102 - the stock layer's
        self,
        hidden_states: Tensor,
        output_size: tuple[int, int] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        doubled = super().forward(hidden_states, None, *args, **kwargs)
        return doubled if output_size is None else doubled[..., : output_size[0], : output_size[1]]


def with_cropping_upsamplers(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return the UNet with its upsamplers replaced, which have the same weights under the same names."""
    for block in unet.up_blocks:
        stock = getattr(block, "upsamplers", None)
        if stock is not None:
            block.upsamplers = nn.ModuleList(
                CroppingUpsample2D(one.channels, use_conv=True, out_channels=one.out_channels)
                for one in stock
            )
    return unet


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
