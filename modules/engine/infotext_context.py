"""Reads infotexts with an engine's registries, model files and settings."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.infotext import InfotextContext, InfotextResult, interpret_infotext, parse_infotext
from modules.params.requests.base import GenerationRequest


def make_infotext_context(engine: Engine) -> InfotextContext:
    """Return the engine's registries, files and settings that names in an infotext refer to."""
    return InfotextContext(
        engine.samplers,
        engine.schedules,
        engine.models,
        engine.settings,
        engine.choices,
        engine.registries.codecs,
        engine.registries.dialects,
        engine.registries.json_formats,
        engine.registries.tasks,
        engine.upscalers,
    )


def read_infotext(
    engine: Engine, text: str, request_type: type[GenerationRequest]
) -> InfotextResult:
    """Return an infotext's values as a request of that type, and a report of what could not be applied."""
    return interpret_infotext(parse_infotext(text), make_infotext_context(engine), request_type)
