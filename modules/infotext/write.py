"""A request to the text that tells how its picture was made, in A1111's form."""

from __future__ import annotations

from collections.abc import Mapping

from modules.infotext.codecs import codecs_for
from modules.infotext.text_format import Infotext, format_infotext, format_number
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
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


def create_infotext(
    request: GenerationRequest, extra_pairs: Mapping[str, object], settings: Settings = DEFAULTS
) -> str:
    """Return prompt, negative prompt and one line of `Key: value` pairs; `read` gives the request back.

    There is no key "Version": to A1111 a number below its own asks for the ways of its early days.

    Args:
        request: The request of this one picture; its seed is the picture's own.
        extra_pairs: Pairs that the request does not know, such as "Model hash"; None or "" leaves a key out.
        settings: The options in force; those that differ from the defaults are told.
    """
    fields = dict(request)
    composite = codecs_for(fields)
    together = {name for row in composite for name in row.fields}
    pairs: dict[str, object] = {
        row.infotext: row.infotext_value(request, name)
        for name, row in params_of(type(request)).items()
        if row.infotext is not None and name not in together
    }
    for codec in composite:
        pairs.update(codec.write(fields))
    pairs.update(_changed(settings))
    pairs.update(extra_pairs)
    ordered = {key: pairs[key] for key in (*_ORDER, *pairs) if key in pairs}
    told = {
        key: format_number(value) if isinstance(value, float) else str(value)
        for key, value in ordered.items()
        if value is not None and value != ""
    }
    return format_infotext(Infotext(request.prompt, request.negative_prompt, told))


def _changed(settings: Settings) -> dict[str, object]:
    return {
        row.infotext: getattr(settings, name)
        for name, row in params_of(Settings).items()
        if row.infotext is not None and getattr(settings, name) != getattr(DEFAULTS, name)
    }
