"""Writes the infotext of a request, in A1111's format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from modules.infotext.codecs import CODECS, Codec, codecs_for
from modules.infotext.text_format import Infotext, format_infotext, format_number
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings

DEFAULTS = Settings()
# The order of A1111's `create_infotext`; other keys follow in their own order.
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
    request: GenerationRequest,
    extra_pairs: Mapping[str, object],
    settings: Settings = DEFAULTS,
    codecs: Iterable[Codec] = CODECS,
    stated_options: Collection[str] = (),
) -> str:
    """Return prompt, negative prompt and one line of `Key: value` pairs; `interpret_infotext` restores the request.

    There is no key "Version": a number below A1111's own makes A1111 turn on its backward compatibility options.

    Args:
        request: The request of this single image, with the image's own seed.
        extra_pairs: Pairs that are not request fields, such as "Model hash"; None or "" omits a key.
        settings: The options in effect; those that differ from their defaults are written.
        codecs: All codecs.
        stated_options: Names of the options that are written at their defaults as well.
    """
    fields = dict(request)
    own_codecs = codecs_for(fields, codecs)
    codec_fields = {name for codec in own_codecs for name in codec.fields}
    pairs: dict[str, object] = {
        row.infotext: row.infotext_value(request, name)
        for name, row in params_of(type(request)).items()
        if row.infotext is not None and name not in codec_fields
    }
    for codec in own_codecs:
        pairs.update(codec.write(fields))
    pairs.update(_setting_pairs(settings, stated_options))
    pairs.update(extra_pairs)
    ordered = {key: pairs[key] for key in (*_ORDER, *pairs) if key in pairs}
    formatted = {
        key: format_number(value) if isinstance(value, float) else str(value)
        for key, value in ordered.items()
        if value is not None and value != ""
    }
    return format_infotext(Infotext(request.prompt, request.negative_prompt, formatted))


def _setting_pairs(settings: Settings, stated_options: Collection[str]) -> dict[str, object]:
    fields = type(settings).model_fields
    return {
        row.infotext: getattr(settings, name)
        for name, row in params_of(type(settings)).items()
        if row.infotext is not None
        and (name in stated_options or getattr(settings, name) != fields[name].default)
    }
