"""Infotexts read with what an engine knows: its tables, its files, its settings."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.infotext import InfotextContext, InfotextResult, interpret_infotext, parse_infotext
from modules.params.requests.base import GenerationRequest


def make_infotext_context(engine: Engine) -> InfotextContext:
    """Return what names can mean here and now."""
    return InfotextContext(
        engine.samplers, engine.schedules, engine.models, engine.settings, engine.choices
    )


def read_infotext(
    engine: Engine, text: str, request_type: type[GenerationRequest]
) -> InfotextResult:
    """Return what an infotext asks for, as a request of that type, and what of it cannot be followed."""
    return interpret_infotext(parse_infotext(text), make_infotext_context(engine), request_type)
