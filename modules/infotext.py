"""The text that tells how a picture was made, in A1111's form."""

from __future__ import annotations

import json
from collections.abc import Mapping

from modules.params.param import params_of
from modules.params.request import GenerationRequest
from modules.params.settings import Settings

DEFAULTS = Settings()
# The order of A1111's `create_infotext`; keys that are not listed follow in the order given.
_ORDER = (
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Seed",
    "Size",
    "Model hash",
    "Model",
    "VAE hash",
    "VAE",
    "Variation seed",
    "Variation seed strength",
    "Seed resize from",
    "Denoising strength",
    "Conditional mask weight",
    "Clip skip",
    "ENSD",
    "RNG",
    "Tiling",
)


def write(
    request: GenerationRequest, extra: Mapping[str, object], settings: Settings = DEFAULTS
) -> str:
    """Return prompt, negative prompt and one line of `Key: value` pairs.

    Args:
        request: The request of this one picture; its seed is the picture's own.
        extra: Pairs that the request does not know, such as "Model hash"; None or "" leaves a key out.
        settings: The options in force; those that differ from the defaults are told.
    """
    pairs: dict[str, object] = {
        row.infotext: row.told(request, name)
        for name, row in params_of(type(request)).items()
        if row.infotext is not None
    }
    pairs.update(_changed(settings))
    pairs["Size"] = f"{request.width}x{request.height}"
    pairs.update(extra)
    ordered = {key: pairs[key] for key in (*_ORDER, *pairs) if key in pairs}
    line = ", ".join(
        f"{key}: {quote(value)}"
        for key, value in ordered.items()
        if value is not None and value != ""
    )
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    return "\n".join([*lines, line]).strip()


def _changed(settings: Settings) -> dict[str, object]:
    return {
        row.infotext: getattr(settings, name)
        for name, row in params_of(Settings).items()
        if row.infotext is not None and getattr(settings, name) != getattr(DEFAULTS, name)
    }


def quote(value: object) -> str:
    """Return the value as A1111 writes it: in JSON quotes when it holds a comma, a colon or a new line."""
    text = f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)
    if any(mark in text for mark in ",:\n"):
        return json.dumps(text, ensure_ascii=False)
    return text
