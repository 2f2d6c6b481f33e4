"""A VAE that does not fit into memory runs in tiles, and gives nearly the same image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modules.backend import vae
from modules.backend.loading.layers import circular_padding
from modules.backend.memory.estimate import vae_bytes
from modules.backend.memory.vae_tiles import TILE_SIDES, run_in_tiles_if_needed
from tests.backend.checkpoints import tiny_modules

SIZE = 1024, 640


@pytest.fixture
def autoencoder() -> Iterator[AutoencoderKL]:
    _, tiny_vae, _ = tiny_modules()
    before = tiny_vae.tile_sample_min_size, tiny_vae.tile_latent_min_size
    yield tiny_vae
    assert not tiny_vae.use_tiling
    assert before == (tiny_vae.tile_sample_min_size, tiny_vae.tile_latent_min_size)


def smooth_latents() -> Tensor:
    coarse = torch.randn((1, 4, 5, 8), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(80, 128), mode="bicubic")


def tile_sides(network: AutoencoderKL, free_bytes: int, failures: int = 0) -> list[int]:
    """Return the side of the tiles of every try, 0 for the whole image; the first ones run out of memory."""
    tries: list[int] = []

    def compute() -> None:
        tries.append(network.tile_sample_min_size if network.use_tiling else 0)
        if len(tries) <= failures:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    run_in_tiles_if_needed(network, SIZE, compute, free_bytes)
    return tries


def test_the_whole_image_is_computed_at_once_where_it_fits(autoencoder: AutoencoderKL):
    assert tile_sides(autoencoder, vae_bytes(autoencoder, SIZE)) == [0]


def test_too_little_free_memory_means_tiles(autoencoder: AutoencoderKL):
    assert tile_sides(autoencoder, vae_bytes(autoencoder, SIZE) - 1) == [TILE_SIDES[0]]


def test_a_lack_of_memory_is_answered_with_smaller_and_smaller_tiles(autoencoder: AutoencoderKL):
    assert tile_sides(autoencoder, 10**12, failures=2) == [0, *TILE_SIDES]
    with pytest.raises(torch.OutOfMemoryError):
        tile_sides(autoencoder, 10**12, failures=3)


def test_another_error_is_no_lack_of_memory(autoencoder: AutoencoderKL):
    def fail() -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        run_in_tiles_if_needed(autoencoder, SIZE, fail)


def test_tileable_images_are_never_split(autoencoder: AutoencoderKL):
    with circular_padding(autoencoder, enabled=True):
        assert tile_sides(autoencoder, 1) == [0]


@torch.inference_mode()
def test_an_image_in_tiles_is_nearly_the_whole_one(
    autoencoder: AutoencoderKL, monkeypatch: pytest.MonkeyPatch
):
    latents = smooth_latents()
    whole = vae.decode_pixels(autoencoder, latents)
    encoded = vae.encode_pixels(autoencoder, whole.clamp(-1, 1))
    fail_once(monkeypatch, AutoencoderKL, "_decode")
    tiled = vae.decode_pixels(autoencoder, latents)
    assert tiled.shape == whole.shape == (1, 3, 640, 1024)
    # Random weights: each tile has norms of its own, which training makes alike.
    assert psnr(tiled, whole, peak=2.0) > 18
    fail_once(monkeypatch, AutoencoderKL, "_encode")
    again = vae.encode_pixels(autoencoder, whole.clamp(-1, 1))
    assert again.shape == encoded.shape
    assert psnr(again, encoded, peak=float(encoded.abs().max())) > 15


def fail_once(monkeypatch: pytest.MonkeyPatch, network: type, name: str) -> None:
    """Make a network run out of memory the first time, as a card does on the whole image."""
    work, calls = getattr(network, name), []

    def run(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.append(x.shape)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return work(self, x, *args, **kwargs)

    monkeypatch.setattr(network, name, run)


def psnr(found: Tensor, expected: Tensor, peak: float) -> float:
    return float(10 * torch.log10(peak**2 / (found - expected).square().mean()))
