"""Options that change how the networks compute, for the time of a pass or of its steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from modules.backend.components import Components
from modules.backend.denoise.attention import use_attention
from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.hypertile import TileOptions, tile_unet, tile_vae
from modules.backend.denoise.token_merging import merge_tokens
from modules.backend.loading.layers import circular_padding
from modules.backend.memory.offload import execution_device
from modules.backend.tuning import use_tuning
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
    unet = components.unet
    with (
        use_tuning(execution_device(unet), unet.dtype),
        circular_padding(components.unet, components.vae, enabled=settings.tiling),
        tile_vae(components.vae, size, tiles, draws) if is_tiled else nullcontext(),
    ):
        yield


@contextmanager
def use_step_options(
    components: Components, plan: Plan, draws: random.Random, cache: DeepCache | None
) -> Iterator[None]:
    """Apply the options of every step: how attention is computed, token merging, Hypertile U-Net and DeepCache.

    Args:
        components: Their UNet runs the steps.
        plan: Of the pass.
        draws: Random numbers of the batch.
        cache: Of the deep layers; a step extension of the same run.
    """
    settings, request, unet = plan.settings, plan.request, components.unet
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
        use_attention(unet, settings.cross_attention_optimization),
        merge_tokens(unet, plan.token_merging_ratio),
        tile_unet(unet, size, tiles, draws) if is_tiled else nullcontext(),
        remember_deep_layers(unet, cache),
    ):
        yield
