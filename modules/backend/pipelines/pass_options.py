"""Options that change how the networks compute, for the time of a pass or of its steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from modules.backend.batch import Batch
from modules.backend.components import Components
from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.hypertile import TileOptions, tile_unet, tile_vae
from modules.backend.denoise.token_merging import merge_tokens
from modules.backend.loading.layers import circular_padding
from modules.backend.model import LoadedModel
from modules.plan.plan import Plan


@contextmanager
def use_image_options(components: Components, plan: Plan, draws: random.Random) -> Iterator[None]:
    """Apply the options of all networks while images are encoded, denoised and decoded: Tiling and Hypertile VAE.

    Args:
        components: The networks.
        plan: Of the pass.
        draws: Random numbers of the batch.
    """
    settings, request = plan.settings, plan.request
    tiles = TileOptions(settings.hypertile_max_tile_vae, settings.hypertile_swap_size_vae)
    size = request.width, request.height
    is_tiled = settings.hypertile_enable_vae
    with (
        circular_padding(components.unet, components.vae, enabled=settings.tiling),
        tile_vae(components.vae, size, tiles, draws) if is_tiled else nullcontext(),
    ):
        yield


@contextmanager
def use_step_options(
    batch: Batch, model: LoadedModel, plan: Plan, cache: DeepCache | None
) -> Iterator[None]:
    """Apply the options of every step: token merging, Hypertile U-Net, DeepCache, and what computes the UNet.

    Args:
        batch: The batch.
        model: Its UNet runs the steps.
        plan: Of the pass.
        cache: Of the deep layers; a step extension of the same run.
    """
    settings, request, unet = plan.settings, plan.request, model.components.unet
    tiles = TileOptions(
        settings.hypertile_max_tile_unet,
        settings.hypertile_swap_size_unet,
        settings.hypertile_max_depth_unet,
    )
    is_hires_pass = plan.first_pass_evaluations is not None
    is_tiled = (
        settings.hypertile_enable_unet_secondpass
        if is_hires_pass
        else settings.hypertile_enable_unet
    )
    size = request.width, request.height
    with (
        merge_tokens(unet, plan.token_merging_ratio),
        tile_unet(unet, size, tiles, batch.draws) if is_tiled else nullcontext(),
        remember_deep_layers(unet, cache),
        batch.acceleration.use(model, plan),
    ):
        yield
