"""Upscalers: how a picture becomes larger before it is refined. Each is one row of UPSCALERS.

Knows their names and filters; the latents are resized in the backend, the pixels with Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Resampling

from modules.core.registry import Registry


@dataclass(frozen=True)
class LatentFilter:
    """How latents are resized.

    Args:
        mode: A mode of torch's `interpolate`.
        antialias: Whether neighbours are averaged that a smaller size would leave out; of little effect on a larger.
    """

    mode: str
    antialias: bool = False


@dataclass(frozen=True)
class Upscaler:
    """One row of the table.

    Args:
        name: What the page shows and the infotext carries.
        resampling: A latent filter, or Pillow's for one that works on pixels.
        aliases: Other names.
    """

    name: str
    resampling: LatentFilter | Resampling
    aliases: tuple[str, ...] = ()

    @property
    def is_latent(self) -> bool:
        """Return whether latents are resized, so that nothing is decoded and encoded in between."""
        return isinstance(self.resampling, LatentFilter)


UPSCALERS: Registry[Upscaler] = Registry(
    "upscaler",
    [
        Upscaler("Latent", LatentFilter("bilinear")),
        Upscaler("Latent (antialiased)", LatentFilter("bilinear", antialias=True)),
        Upscaler("Latent (bicubic)", LatentFilter("bicubic")),
        Upscaler("Latent (bicubic antialiased)", LatentFilter("bicubic", antialias=True)),
        Upscaler("Latent (nearest)", LatentFilter("nearest")),
        Upscaler("Latent (nearest-exact)", LatentFilter("nearest-exact")),
        # As in A1111's hires fix, a picture without an upscaler is resized by Lanczos all the same.
        Upscaler("None", Resampling.LANCZOS),
        Upscaler("Lanczos", Resampling.LANCZOS),
        Upscaler("Nearest", Resampling.NEAREST),
    ],
)
