"""UPSCALERS: how images or latents are enlarged before the hires pass, one row each.

Holds names and filters only; the backend resizes latents, Pillow resizes pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL.Image import Resampling

from modules.core.registry import Registry


@dataclass(frozen=True)
class LatentFilter:
    """The filter that resizes latents.

    Args:
        mode: A mode of torch's `interpolate`.
        antialias: Its antialiasing option; it has little effect when enlarging.
    """

    mode: str
    antialias: bool = False


@dataclass(frozen=True)
class Upscaler:
    """One row of the table.

    Args:
        name: Shown on the page and written to the infotext.
        resampling: A latent filter, or one of Pillow's for an upscaler of pixels; None resizes as if there were none.
        aliases: Other accepted names.
    """

    name: str
    resampling: LatentFilter | Resampling | None
    aliases: tuple[str, ...] = ()

    @property
    def is_latent(self) -> bool:
        """Return whether latents are resized, without decoding and encoding in between."""
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
        Upscaler("None", None),
        Upscaler("Lanczos", Resampling.LANCZOS),
        Upscaler("Nearest", Resampling.NEAREST),
    ],
)
