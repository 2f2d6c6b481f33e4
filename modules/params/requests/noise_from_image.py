"""NoiseFromImageFields: img2img from the noise that makes the init image again, A1111's "img2img alternative test"."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.params.param import param

SECTION = "noise from image"


def _finds_noise(request: Any) -> bool:  # Any: every model that has the fields
    return request.decode_steps > 0


class NoiseFromImageFields(BaseModel):
    """How the noise is found that makes the init image again; without decode steps it is drawn as always."""

    decode_steps: int = param(
        0,
        "Decode steps",
        help="In how many steps the picture is turned into noise; 0 draws noise from the seed.",
        infotext="Decode steps",
        when=_finds_noise,
        ge=0,
        le=1000,
        slider=(0, 150, 1),
        section=SECTION,
    )
    decode_prompt: str = param(
        "",
        "Decode prompt",
        help="What the picture shows, in words; it leads the way to its noise.",
        infotext="Decode prompt",
        when=_finds_noise,
        section=SECTION,
    )
    decode_negative_prompt: str = param(
        "",
        "Decode negative prompt",
        help="What the picture does not show.",
        infotext="Decode negative prompt",
        when=_finds_noise,
        section=SECTION,
    )
    decode_cfg_scale: float = param(
        1.0,
        "Decode CFG scale",
        help="The CFG scale on the way to the noise; values near 1 find the picture again best.",
        infotext="Decode CFG scale",
        when=_finds_noise,
        ge=0,
        le=100,
        slider=(0, 15, 0.1),
        section=SECTION,
    )
    decode_randomness: float = param(
        0.0,
        "Randomness",
        help="How much noise of the seed is mixed in; 1 leaves nothing of the picture's.",
        infotext="Randomness",
        when=_finds_noise,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section=SECTION,
    )
    decode_sigma_adjustment: bool = param(
        False,
        "Sigma Adjustment",
        help="Evaluates each step at the noise level that it starts from, and scales the noise by the last one.",
        infotext="Sigma Adjustment",
        when=_finds_noise,
        section=SECTION,
    )
