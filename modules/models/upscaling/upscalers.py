"""UPSCALERS: how images or latents are enlarged, one row each; those of model files are made by `upscaler_list`.

Holds names, filters and files only; the backend resizes latents and runs networks, Pillow resizes pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from PIL.Image import Resampling

from modules.core.registry import Registry
from modules.models.files.scan import ModelFile


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
class UpscalerFunction:
    """An algorithm of an extension that enlarges images.

    Args:
        enlarge: Returns an RGB image enlarged from an RGB image and the factor for both sides; called in the backend, up
            to three times for a large factor. What is missing of the size, or too much, Lanczos makes.
    """

    enlarge: Callable[[Image.Image, float], Image.Image]


@dataclass(frozen=True)
class UpscalerModel:
    """A network that enlarges images.

    Args:
        file: The file with its weights.
        architecture: Name of its row of ARCHITECTURES; "" until the file has been opened.
    """

    file: ModelFile
    architecture: str = ""


@dataclass(frozen=True)
class Upscaler:
    """One row of the table.

    Args:
        name: Shown on the page and written to the infotext.
        method: A latent filter, one of Pillow's filters, a network or a function for upscalers of pixels; None resizes as
            if there were none.
        aliases: Other accepted names.
        scale: By how much lists say that it enlarges; only A1111's clients read it.
    """

    name: str
    method: LatentFilter | Resampling | UpscalerModel | UpscalerFunction | None
    aliases: tuple[str, ...] = ()
    scale: int = 4  # A1111's of whatever has no other

    @property
    def is_latent(self) -> bool:
        """Return whether latents are resized, without decoding and encoding in between."""
        return isinstance(self.method, LatentFilter)


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
