"""Runs a VAE in tiles where the whole image would not fit into memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from diffusers import AutoencoderKL

from modules.backend.memory import estimate
from modules.backend.memory.offload import execution_device

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Sides of tiles in pixels, tried in this order. diffusers blends a quarter of each with its neighbours.
TILE_SIDES = (512, 256)


def run_in_tiles_if_needed(
    vae: AutoencoderKL,
    size: tuple[int, int],
    compute: Callable[[], T],
    free_bytes: int | None = None,
) -> T:
    """Return what `compute` gives: of the whole image, or of tiles if memory is too small or runs out.

    Args:
        vae: What `compute` calls. One that pads circularly sees the whole image: a tile has no opposite edge.
        size: Width and height of the image in pixels.
        compute: Encodes or decodes.
        free_bytes: Of the device; None measures it.
    """
    sides: list[int] = []
    if vae.decoder.conv_in.padding_mode != "circular":
        sides = [side for side in TILE_SIDES if side < max(size)]
    free = estimate.free_bytes(execution_device(vae)) if free_bytes is None else free_bytes
    if sides and estimate.vae_bytes(vae, size) > free:
        return _run_in_tiles(vae, sides, compute)
    try:
        return compute()
    except RuntimeError as error:
        if not sides or not estimate.is_out_of_memory(error):
            raise
        logger.warning("The VAE ran out of memory and runs again in tiles: %s", error)
    # Outside the except block: a traceback would keep the tensors alive.
    return _run_in_tiles(vae, sides, compute)


def _run_in_tiles(vae: AutoencoderKL, sides: list[int], compute: Callable[[], T]) -> T:
    estimate.empty_cache(execution_device(vae))
    side, *smaller = sides
    try:
        with _tiles(vae, side):
            return compute()
    except RuntimeError as error:
        if not smaller or not estimate.is_out_of_memory(error):
            raise
    return _run_in_tiles(vae, smaller, compute)


@contextmanager
def _tiles(vae: AutoencoderKL, side: int) -> Iterator[None]:
    """Make a VAE run in tiles of so many pixels a side; restores it on any exit."""
    before = vae.tile_sample_min_size, vae.tile_latent_min_size
    cell = 2 ** (len(vae.config["block_out_channels"]) - 1)
    vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // cell
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = before
