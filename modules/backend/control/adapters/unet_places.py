"""Places within a UNet: its blocks as LDM counts them, and the sizes of samples at each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

Block = tuple[
    nn.Module, ...
]  # modules that run one after the other: ResNet block, transformer, up- or downsampler


def input_blocks(unet: UNet2DConditionModel) -> list[Block]:
    """Return LDM's `input_blocks`."""
    blocks: list[Block] = [(unet.conv_in,)]
    for level in unet.down_blocks:
        blocks += _pairs(level)
        blocks += [(sampler,) for sampler in _children(level, "downsamplers")]
    return blocks


def output_blocks(unet: UNet2DConditionModel) -> list[Block]:
    """Return LDM's `output_blocks`; an upsampler belongs to the last block of its size."""
    blocks: list[Block] = []
    for level in unet.up_blocks:
        blocks += _pairs(level)
        blocks[-1] = (*blocks[-1], *_children(level, "upsamplers"))
    return blocks


def _pairs(level: nn.Module) -> Iterator[Block]:
    attentions = _children(level, "attentions")
    for index, resnet in enumerate(_children(level, "resnets")):
        yield (resnet, attentions[index]) if attentions else (resnet,)


def _children(level: nn.Module, name: str) -> Sequence[nn.Module]:
    return list(getattr(level, name, None) or ())


def cells_at(cells: tuple[int, int], halvings: int) -> tuple[int, int]:
    """Return rows and columns of a UNet's sample after some halvings.

    Args:
        cells: Of the latents.
        halvings: How often the sample has been halved; an odd number of cells is rounded up.
    """
    rows, columns = (-(-count // 2**halvings) for count in cells)
    return rows, columns


def size_of_cells(cells: tuple[int, int], count: int) -> tuple[int, int]:
    """Return rows and columns of a layer with so many cells; one row where it has another number than the UNet's samples.

    Args:
        cells: Rows and columns of the latents.
        count: Cells of the layer.
    """
    rows, columns = cells
    while rows * columns > count:
        rows, columns = cells_at((rows, columns), 1)
    return (rows, columns) if rows * columns == count else (1, count)


def transformers_of(unet: UNet2DConditionModel) -> list[nn.Module]:
    """Return the transformers, each a stack of attention layers, in the order in which they run."""
    middle: list[Block] = []
    if unet.mid_block is not None:
        middle = [(module,) for module in _children(unet.mid_block, "attentions")]
    return [
        module
        for block in (*input_blocks(unet), *middle, *output_blocks(unet))
        for module in block
        if hasattr(module, "transformer_blocks")
    ]
