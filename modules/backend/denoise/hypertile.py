"""Hypertile: attention within tiles (tfernd, "HyperTile"), in the UNet and in the VAE.

Attention over a large image costs the square of its tokens. Here the image is cut into as many tiles as fit, drawn anew for
every layer so that their borders do not show, and each tile attends to itself alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

_CELL = 8  # pixels of a cell of latents
_SMALLEST_TILE = 128  # pixels


@dataclass(frozen=True)
class TileOptions:
    """How large tiles are.

    Args:
        max_side: Largest side of a tile in pixels.
        swap_size: From how many numbers of tiles the one of a layer is drawn.
        max_depth: The layers of so many halvings are tiled, and those of fewer.
    """

    max_side: int
    swap_size: int
    max_depth: int = 0


def largest_tile(width: int, height: int) -> int:
    """Return the largest power of 2 that divides both sides of an image."""
    common = math.gcd(width, height)
    return common & -common


def tile_counts(side: int, smallest: int, swap_size: int) -> list[int]:
    """Return into how many tiles a side may be cut, fewest pixels per tile first.

    Args:
        side: In cells.
        smallest: The least cells of a tile.
        swap_size: The most results.
    """
    smallest = min(smallest, side)
    sizes = [size for size in range(smallest, side + 1) if side % size == 0]
    return [side // size for size in sizes[: max(1, swap_size)]]


class _Tiling:
    """Draws the tiles of layers, in the order in which the network runs.

    Args:
        tile: Side of a tile in pixels.
        swap_size: See `TileOptions`.
        draws: Where the numbers come from.
    """

    def __init__(self, tile: int, swap_size: int, draws: random.Random) -> None:
        self._smallest = max(_SMALLEST_TILE, tile) // _CELL
        self._swap_size = swap_size
        self._draws = draws

    def draw(self, rows: int, columns: int, factor: int) -> tuple[int, int]:
        """Return into how many tiles a sample is cut, downwards and across.

        Args:
            rows: Of the sample in cells of the layer.
            columns: Likewise.
            factor: How many of its cells on one side make a cell of latents in a layer of the depth.
        """
        down, across = (
            self._draws.choice(tile_counts(side, self._smallest * factor, self._swap_size))
            for side in (rows, columns)
        )
        return down, across


def _cut(tokens: Tensor, size: tuple[int, int], tiles: tuple[int, int]) -> Tensor:
    """Return [rows * tiles, cells of a tile, channels] of [rows, cells, channels]."""
    (height, width), (down, across) = size, tiles
    rows, _, channels = tokens.shape
    parts = tokens.reshape(rows, down, height // down, across, width // across, channels)
    return parts.transpose(2, 3).reshape(rows * down * across, -1, channels)


def _join(tokens: Tensor, size: tuple[int, int], tiles: tuple[int, int]) -> Tensor:
    """Return the inverse of `_cut`."""
    (height, width), (down, across) = size, tiles
    channels = tokens.shape[-1]
    parts = tokens.reshape(-1, down, across, height // down, width // across, channels)
    return parts.transpose(2, 3).reshape(-1, height * width, channels)


def _cut_image(image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """Return [rows * tiles, channels, height, width] of a tile, of [rows, channels, height, width]."""
    down, across = tiles
    rows, channels, height, width = image.shape
    parts = image.reshape(rows, channels, down, height // down, across, width // across)
    tiled = parts.permute(0, 2, 4, 1, 3, 5).contiguous()
    return tiled.view(-1, channels, height // down, width // across)


def _join_image(image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """Return the inverse of `_cut_image`."""
    down, across = tiles
    _, channels, height, width = image.shape
    parts = image.reshape(-1, down, across, channels, height, width)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, down * height, across * width)


class _TiledLayer:
    """The hooks of one attention layer.

    Args:
        tiling: Draws the tiles.
        factor: See `_Tiling.draw`.
        size_of: Returns rows and columns of a layer's input, in its cells.
    """

    def __init__(
        self, tiling: _Tiling, factor: int, size_of: Callable[[Tensor], tuple[int, int]]
    ) -> None:
        self._tiling = tiling
        self._factor = factor
        self._size_of = size_of
        self._size = self._tiles = (1, 1)

    def before(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the layer's inputs, cut into tiles."""
        sample, *others = inputs
        self._size = self._size_of(sample)
        self._tiles = self._tiling.draw(*self._size, self._factor)
        if self._tiles == (1, 1):
            return inputs
        if sample.ndim == 4:
            return (_cut_image(sample, self._tiles), *others)
        return (_cut(sample, self._size, self._tiles), *others)

    def after(self, _: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        """Return the layer's output, put together again."""
        if self._tiles == (1, 1):
            return output
        if output.ndim == 4:
            return _join_image(output, self._tiles)
        return _join(output, self._size, self._tiles)


def _add_hooks(stack: ExitStack, layer: nn.Module, tiled: _TiledLayer) -> None:
    for handle in (
        layer.register_forward_pre_hook(tiled.before),
        # Before what hooks were there: token merging, which comes first, gets back what it gave.
        layer.register_forward_hook(tiled.after, prepend=True),
    ):
        stack.callback(handle.remove)


def _image_size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


@contextmanager
def tile_vae(
    vae: AutoencoderKL, size: tuple[int, int], options: TileOptions, draws: random.Random
) -> Iterator[None]:
    """Let the attention of a VAE work in tiles.

    Args:
        vae: The VAE.
        size: Width and height of the image in pixels.
        options: How large the tiles are.
        draws: The numbers of tiles come from it.
    """
    tiling = _Tiling(min(largest_tile(*size), options.max_side), options.swap_size, draws)
    with ExitStack() as stack:
        for part in (vae.encoder, vae.decoder):
            for layer in part.modules():
                if isinstance(layer, Attention):
                    tiled = _TiledLayer(tiling, 1, _image_size)
                    _add_hooks(stack, layer, tiled)
        yield


@contextmanager
def tile_unet(
    unet: UNet2DConditionModel,
    size: tuple[int, int],
    options: TileOptions,
    draws: random.Random,
) -> Iterator[None]:
    """Let the self-attention of a UNet work in tiles.

    Args:
        unet: The UNet.
        size: Width and height of the image in pixels.
        options: How large the tiles are.
        draws: The numbers of tiles come from it.
    """
    tiling = _Tiling(min(largest_tile(*size), options.max_side), options.swap_size, draws)
    columns, rows = (side // _CELL for side in size)
    with ExitStack() as stack:
        for depth, part in _parts_by_depth(unet):
            if depth > options.max_depth:
                continue
            size_at_depth = (math.ceil(rows / 2**depth), math.ceil(columns / 2**depth))
            for block in part.modules():
                if isinstance(block, BasicTransformerBlock):
                    tiled = _TiledLayer(tiling, 2**depth, partial(_cells, size_at_depth))
                    _add_hooks(stack, block.attn1, tiled)
        yield


def _cells(size: tuple[int, int], tokens: Tensor) -> tuple[int, int]:
    """Return rows and columns of a layer's tokens; one row where they are not what the size says."""
    count = tokens.shape[1]
    return size if size[0] * size[1] == count else (1, count)


def _parts_by_depth(unet: UNet2DConditionModel) -> Iterator[tuple[int, nn.Module]]:
    """Yield the blocks of a UNet, and how often their samples have been halved."""
    yield from enumerate(unet.down_blocks)
    deepest = len(unet.down_blocks) - 1
    if unet.mid_block is not None:
        yield deepest, unet.mid_block
    for index, block in enumerate(unet.up_blocks):
        yield deepest - index, block
