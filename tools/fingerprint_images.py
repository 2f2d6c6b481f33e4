"""The images and infotexts that the cases of `tools/fingerprint.py` send."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageOps
from PIL.PngImagePlugin import PngInfo

# Infotexts of other programs and of this one, to be read: as a field of a request and from an image.
INFOTEXTS: Mapping[str, str] = {
    "a1111": "a (red:1.2) circle\nNegative prompt: green\nSteps: 7, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 5, Seed: 3, Size: 128x136, Model: demo, Clip skip: 2, ENSD: 31337, RNG: CPU, Version: v1.10.1",
    "a1111 of 2022": "a red circle\nSteps: 7, Sampler: DPM++ 2M Karras, CFG scale: 5, Seed: 3, Size: 128x128, "
    "Model hash: 7460a6fa, Eta: 0.5",
    "a1111 hires": "a red circle\nSteps: 5, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 128x128, Denoising strength: "
    "0.6, Hires upscale: 1.5, Hires upscaler: Latent, Hires prompt: \"stars, night\", Version: v1.6.0",
    "forge": "a red circle\nSteps: 6, Sampler: Euler, Schedule type: Simple, CFG scale: 5, Distilled CFG Scale: 3.5, "
    "Seed: 3, Size: 128x128, Version: f2.0.1v1.10.1-previous-1",
    "sd.next": "a red circle\nSteps: 6, Size: 128x128, Seed: 3, Sampler: Euler a, CFG scale: 5, App: SD.Next, "
    "Version: 5ee5bb7, Parser: Full parser",
    "unknown": "a red circle\nSteps: 6, Sampler: Nobody, Seed: 3, Size: 128x128, Lora hashes: \"x: 1234\", Model: none",
}  # fmt: skip


def fill_in(value: Any, made: str = "") -> Any:
    """Return JSON with an image in base64 in the place of each "@name"; "@made" is the one given."""
    if isinstance(value, Mapping):
        return {key: fill_in(one, made) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [fill_in(one, made) for one in value]
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    return made if value == "@made" else _drawn(value[1:])


def _drawn(name: str) -> str:
    """Return a PNG in base64; "infotext NAME" holds an infotext of INFOTEXTS."""
    image, text = name, PngInfo()
    if name.startswith("infotext "):
        image = "picture"
        text.add_text("parameters", INFOTEXTS[name.removeprefix("infotext ")])
    draw, size = _DRAWN[image]
    buffer = io.BytesIO()
    draw(size).save(buffer, format="PNG", pnginfo=text)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _scene(size: tuple[int, int]) -> Image.Image:
    """Return gradients with a square and a disc."""
    upright = Image.linear_gradient("L").resize(size)
    across = ImageOps.mirror(ImageChops.difference(upright, _glow(size)))
    image = Image.merge("RGB", (_glow(size), upright, across))
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((8, 70, 56, 118), fill=(200, 180, 20))
    pencil.ellipse((60, 20, 110, 70), fill=(180, 20, 40))
    return image


def _transparent_scene(size: tuple[int, int]) -> Image.Image:
    image = _scene(size)
    image.putalpha(_disc(size))
    return image


def _disc(size: tuple[int, int]) -> Image.Image:
    image = _black(size)
    ImageDraw.Draw(image).ellipse((48, 12, 116, 84), fill=255)
    return image


def _glow(size: tuple[int, int]) -> Image.Image:
    return ImageOps.invert(Image.radial_gradient("L").resize(size))


def _black(size: tuple[int, int]) -> Image.Image:
    return Image.new("L", size)


_DRAWN: Mapping[str, tuple[Callable[[tuple[int, int]], Image.Image], tuple[int, int]]] = {
    "picture": (_scene, (128, 128)),
    "wide": (_scene, (192, 128)),
    "small": (_scene, (96, 64)),
    "transparent": (_transparent_scene, (128, 128)),
    "mask": (_disc, (128, 128)),
    "wide mask": (_disc, (192, 128)),
    "small mask": (_disc, (96, 64)),
    "grey mask": (_glow, (128, 128)),
    "depth": (_glow, (128, 128)),
    "black": (_black, (128, 128)),
}
